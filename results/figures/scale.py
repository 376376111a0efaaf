"""Final loss against trainable parameters, as PNG and SVG."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

Points = dict[str, dict[int, dict[int, float]]]  # model -> parameters the scale promises -> seed -> bits per byte


def mean_points(by_size: Mapping[int, Mapping[int, float]]) -> list[tuple[float, float]]:
    return [(float(P), statistics.mean(found.values())) for P, found in sorted(by_size.items())]


def plot_ladder(points: Points, fits: Mapping[str, tuple[float, float] | None], path: Path, title: str) -> list[Path]:
    """Means with their range over seeds, and the fitted lines; the files written."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter, ScalarFormatter

    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes: Any = figure.subplots()
        for model, by_size in points.items():
            means = mean_points(by_size)
            if not means:
                continue
            color, line, marker = STYLES.get(model, OTHER)
            sizes, losses = [P for P, _ in means], [L for _, L in means]
            low = [L - min(found.values()) for L, (_, found) in zip(losses, sorted(by_size.items()), strict=True)]
            high = [max(found.values()) - L for L, (_, found) in zip(losses, sorted(by_size.items()), strict=True)]
            fit = fits.get(model)
            label = model if fit is None else f"{model}  $\\propto P^{{-{fit[1]:.3f}}}$"
            axes.errorbar(
                sizes, losses, (low, high), color=color, marker=marker, linestyle="none", capsize=3, label=label
            )
            if fit is not None:
                axes.plot(sizes, [fit[0] * P ** -fit[1] for P in sizes], color=color, linestyle=line, linewidth=1.6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(sorted({P for by_size in points.values() for P in by_size}))
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("trainable parameters")
        axes.set_ylabel("validation loss (bits per byte)")
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.25, linewidth=0.6, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper right")
        return write_figure(figure, path)
