"""Operations, time and memory of training steps against length, width and parameters, as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.evidence.scaling import along, fit, quantities
from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure
from training.benchmarks.scaling import ScalingPoint

LABELS = {"context": "tokens of a window, N", "width": "width, w", "parameters": "parameters"}
TITLES = {"FLOPs": "MFLOPs per token", "time": "time per token (microseconds)", "memory": "memory of a step (MiB)"}


def plot_scaling(points: Sequence[ScalingPoint], tokens: int, path: Path, title: str) -> list[Path]:
    """Nine panels on log axes: quantities in rows, axes in columns; points are measured, lines are the fitted laws.

    The files written: `path`.png and .svg.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, NullLocator

    models = list(dict.fromkeys(point.model for point in points))
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(10.5, 8.4), layout="constrained")
        panels: Any = figure.subplots(len(TITLES), len(LABELS), sharex="col", sharey="row")
        for row, (quantity, of) in zip(panels, quantities(tokens).items(), strict=True):
            for panel, axis in zip(row, LABELS, strict=True):
                for model in models:
                    own = along(points, axis, model)
                    color, line, marker = STYLES.get(model, OTHER)
                    values = [point.value for point in own]
                    look: Any = {"color": color, "marker": marker, "markersize": 5, "linestyle": "none", "alpha": 0.9}
                    panel.plot(values, [of(point) for point in own], label=model, **look)
                    if law := fit(own, axis, quantity, of):
                        fine = np.geomspace(min(values), max(values), 60)
                        panel.plot(fine, [law.at(x) for x in fine], color=color, linestyle=line, linewidth=1.3)
                panel.set_xscale("log")
                panel.set_yscale("log")
                panel.set_xticks(sorted({point.value for point in points if point.axis == axis}))
                panel.xaxis.set_major_formatter(EngFormatter(sep="") if axis == "parameters" else "{x:,.0f}")
                panel.xaxis.set_minor_locator(NullLocator())
                panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
                panel.yaxis.set_minor_formatter(NullFormatter())
                panel.grid(alpha=0.25, linewidth=0.6)
                panel.spines[["top", "right"]].set_visible(False)
            row[0].set_ylabel(TITLES[quantity])
        for panel, axis in zip(panels[-1], LABELS, strict=True):
            panel.set_xlabel(LABELS[axis])
        figure.suptitle(title, fontsize=11)
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        return write_figure(figure, path)
