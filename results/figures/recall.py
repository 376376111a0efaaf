"""Accuracy of recall against steps and against length, a panel a kind of strings, as PNG and SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

Series = list[tuple[int, float, float, float]]  # (step or length, mean, least, largest over seeds)


@dataclass
class Panel:
    """One kind of strings. `trained`: symbols of the strings it was trained on; `guess`: accuracy of a mere guess."""

    name: str
    trained: int
    guess: float
    by_step: Mapping[str, Series]  # by model
    by_length: Mapping[str, Series]


def plot_recall(panels: Sequence[Panel], path: Path, title: str = "") -> list[Path]:
    """A column a kind: above accuracy against training steps, below at the end against length; the files written."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullFormatter, NullLocator

    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(max(4.8, 2.75 * len(panels)), 5.6), layout="constrained")
        axes: Any = figure.subplots(2, len(panels), squeeze=False, sharey=True)
        for column, panel in enumerate(panels):
            above, below = axes[:, column]
            for rank, series in ((above, panel.by_step), (below, panel.by_length)):
                rank.axhline(panel.guess, color="0.6", linewidth=1)
                for model, points in series.items():
                    _draw(rank, model, points)
            above.set_title(panel.name, fontsize=11)
            above.set_xlabel("training steps")
            above.set_xlim(left=0)
            below.set_xlabel("symbols of a string, at the end")
            below.set_xscale("log", base=2)
            lengths = sorted({place for points in panel.by_length.values() for place, *_ in points})
            below.set_xticks(lengths, [str(length) for length in lengths])
            below.xaxis.set_minor_locator(NullLocator())
            below.xaxis.set_minor_formatter(NullFormatter())
            below.axvline(panel.trained, color="0.4", linewidth=1, linestyle=":")
        for rank in axes.flat:
            rank.set_ylim(-0.03, 1.03)
            rank.grid(alpha=0.25, linewidth=0.6)
            rank.spines[["top", "right"]].set_visible(False)
        for row in axes:
            row[0].set_ylabel("accuracy at scored symbols")
        figure.suptitle(title, fontsize=12)
        models = list(dict.fromkeys(m for panel in panels for m, points in panel.by_step.items() if points))
        looks = {model: STYLES.get(model, OTHER) for model in models}
        handles: list[Any] = [
            Line2D([], [], color=c, linestyle=line, marker=marker, markersize=4.5, label=model)
            for model, (c, line, marker) in looks.items()
        ]
        handles.append(Line2D([], [], color="0.6", linewidth=1, label="a guess"))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, handlelength=3.2)
        return write_figure(figure, path)


def _draw(axes: Any, model: str, points: Series) -> None:
    """The mean with its markers, and a band from the least to the largest where seeds differ."""
    if not points:
        return
    color, line, marker = STYLES.get(model, OTHER)
    places, means, low, high = ([point[k] for point in points] for k in range(4))
    if low != high:
        axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
    every = max(1, len(places) // 8)
    look: Any = {
        "color": color,
        "linestyle": line,
        "linewidth": 1.6,
        "marker": marker,
        "markersize": 4,
        "markevery": every,
    }
    axes.plot(places, means, **look)
