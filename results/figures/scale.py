"""Final loss against trainable parameters, as PNG and SVG."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measures.statistics import mean_over_seeds
from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

Points = dict[str, dict[int, dict[int, float]]]  # model -> parameters the scale promises -> seed -> bits per byte


def mean_points(by_size: Mapping[int, Mapping[int, float]]) -> list[tuple[float, float]]:
    """(parameters, mean over seeds), by size."""
    return [(float(P), mean_over_seeds(list(losses.values())).value) for P, losses in sorted(by_size.items())]


def plot_ladder(points: Points, fits: Mapping[str, tuple[float, float] | None], path: Path, title: str) -> list[Path]:
    """Means with their 95 % interval over seeds, and the fitted lines; the files written."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter, ScalarFormatter

    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes: Any = figure.subplots()
        for model, by_size in points.items():
            if not by_size:
                continue
            color, line, marker = STYLES.get(model, OTHER)
            sizes = [float(P) for P in sorted(by_size)]
            means = [mean_over_seeds(list(by_size[P].values())) for P in sorted(by_size)]
            half = [0.0 if math.isnan(mean.half_width) else mean.half_width for mean in means]
            fit = fits.get(model)
            name = model.replace("$", r"\$")  # beside TeX of ours
            label = name if fit is None else f"{name}  $\\propto P^{{-{fit[1]:.3f}}}$"
            look: Any = {"color": color, "marker": marker, "linestyle": "none", "capsize": 3}
            axes.errorbar(sizes, [mean.value for mean in means], half, label=label, **look)
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
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25, linewidth=0.6, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        for text in axes.legend(frameon=False, loc="upper right").get_texts():
            text.set_parse_math(True)
        return write_figure(figure, path)
