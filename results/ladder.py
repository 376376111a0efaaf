"""The scale ladder: final loss against trainable parameters, and a power law through each model's means.

L(P) = a P^-b, a straight line on logarithmic axes, fitted to the logarithms by least squares (our choice)
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results.document import Document, Table
from results.evidence import Evidence
from results.figure_file import REPRODUCIBLE, write_figure
from results.figures import OTHER, STYLES
from results.protocol import footnotes, of_row, require_one
from results.seeds import compared, spread

Points = dict[str, dict[int, dict[int, float]]]  # model -> parameters the scale promises -> seed -> bits per byte


def power_law(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(a, b) of L = a P^-b through (P, L); None for fewer than two sizes."""
    if len({P for P, _ in points}) < 2:
        return None
    import numpy as np

    slope, intercept = np.polyfit([math.log(P) for P, _ in points], [math.log(L) for _, L in points], 1)
    return math.exp(intercept), -float(slope)


def build(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the table of the ladder and its figure. UserError for runs of different protocols."""
    runs = evidence.runs
    models, baseline = list(dict.fromkeys(run.model for run in runs)), evidence.sweep.baseline
    seeds = len({run.seed for run in runs})
    done = [(run, run.record, run.record.final) for run in runs if run.record is not None and run.record.final]
    require_one([of_row(record, final) for _, record, final in done], document.title)
    points: Points = {model: {} for model in models}
    for run, _, final in done:
        points[run.model].setdefault(run.config.scale.parameters, {})[run.seed] = final["bits_per_byte"]
    scales = {run.config.scale.parameters: run.config.scale.name for run in runs}
    lines = []
    for parameters, name in sorted(scales.items()):
        line = {"scale": name}
        line |= {model: spread(points[model].get(parameters, {}), seeds) for model in models}
        for model in models:
            if model != baseline:
                theirs = points.get(baseline, {}).get(parameters, {})
                line[f"{model} minus {baseline}"] = compared(points[model].get(parameters, {}), theirs, seeds)
        lines.append(line)
    fits = {model: power_law(_means(points[model])) for model in models}
    notes = [f"{model}: L = {fit[0]:.3f} P^-{fit[1]:.4f}." for model, fit in fits.items() if fit]
    if notes and max(map(len, points.values())) == 2:
        notes.append("A power law goes through two sizes exactly: whether losses follow one, they do not say.")
    notes += footnotes([record for _, record, _ in done]) + evidence.shortfall()
    data = [
        {"scale": run.config.scale.name, "parameters": record.parameters["total"], "model": run.model}
        | {
            "seed": run.seed,
            "tokens": final["tokens"],
            "bytes": final["bytes"],
            "bits_per_byte": final["bits_per_byte"],
        }
        for run, record, final in done
    ]
    title = "final validation loss, bits per byte, by trainable parameters: mean ± standard deviation over seeds"
    document.tables.append(Table(title, lines, ("scale",), notes, data))
    if done:
        plot_ladder(points, fits, folder / stem, f"{evidence.corpus}, {done[0][2]['tokens'] / 1e6:.0f} M tokens")
        caption = f"{evidence.corpus}: final validation loss against parameters, both axes logarithmic"
        caption += ", with power laws" if any(fits.values()) else ""
        document.figures.append((stem, caption))


def _means(by_size: Mapping[int, Mapping[int, float]]) -> list[tuple[float, float]]:
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
            means = _means(by_size)
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
