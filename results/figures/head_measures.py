"""Measures of heads by layer, from the start to the end of training, as PNG and SVG."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

Series = Mapping[str, Sequence[Sequence[float]]]  # "start" and "last" -> layer -> the value of each seed
BESIDE = 0.28  # layers; models of one layer stand side by side, this far apart


def plot_synchrony(panels: Mapping[str, Mapping[str, Series]], path: Path, title: str) -> list[Path]:
    """`panels`: axis label -> model -> series. Each model of each layer has a hollow marker where it started and a
    filled one where it ended, means over seeds with their range, and an arrow between; the files written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(3.3 * len(panels), 3.7), layout="constrained")
        axes: Any = figure.subplots(1, len(panels), squeeze=False)[0]
        models = list(dict.fromkeys(model for series in panels.values() for model in series))
        n_layers = max((len(s["start"]) for series in panels.values() for s in series.values()), default=1)
        for panel, (label, series) in zip(axes, panels.items(), strict=True):
            for number, model in enumerate(models):
                _draw(panel, series[model], BESIDE * (number - (len(models) - 1) / 2), STYLES.get(model, OTHER))
            panel.set_xticks(range(n_layers))
            panel.set_xlim(-0.6, n_layers - 0.4)
            panel.set_ylim(0, 1.05)
            panel.set_xlabel("layer")
            panel.set_title(label, fontsize=10)
            panel.grid(alpha=0.25, linewidth=0.6, axis="y")
            panel.spines[["top", "right"]].set_visible(False)
        handles = [
            Line2D([], [], color=STYLES.get(m, OTHER)[0], marker=STYLES.get(m, OTHER)[2], linestyle="none", label=m)
            for m in models
        ]
        for word, fill in (("at the start", "white"), ("after training", "#444444")):
            circle: dict[str, Any] = {"marker": "o", "markerfacecolor": fill, "markeredgecolor": "#444444"}
            handles.append(Line2D([], [], color="#444444", linestyle="none", label=word, **circle))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
        figure.suptitle(title, fontsize=11)
        return write_figure(figure, path)


def _draw(panel: Any, series: Series, beside: float, style: tuple[str, Any, str]) -> None:
    """One model in one panel."""
    color, _, marker = style
    means: dict[str, dict[int, float]] = {}
    for stage, fill in (("start", "white"), ("last", color)):
        at = {layer: values for layer, values in enumerate(series[stage]) if values}
        means[stage] = {layer: statistics.mean(values) for layer, values in at.items()}
        low = [means[stage][layer] - min(values) for layer, values in at.items()]
        high = [max(values) - means[stage][layer] for layer, values in at.items()]
        x = [layer + beside for layer in at]
        look = {"color": color, "marker": marker, "markerfacecolor": fill, "markeredgecolor": color, "markersize": 6}
        panel.errorbar(
            x, list(means[stage].values()), (low, high), linestyle="none", capsize=2, elinewidth=1, zorder=3, **look
        )
    for layer in means["start"].keys() & means["last"].keys():
        at_x = layer + beside
        arrow = {"arrowstyle": "-|>", "color": color, "shrinkA": 4, "shrinkB": 4, "linewidth": 1.1}
        panel.annotate("", (at_x, means["last"][layer]), (at_x, means["start"][layer]), arrowprops=arrow, zorder=2)
