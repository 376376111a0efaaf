"""The scale ladder: final loss against trainable parameters, and a power law through each model's means.

L(P) = a P^-b, a straight line on logarithmic axes, fitted to the logarithms by least squares (our choice)
"""

import math
from collections.abc import Sequence
from pathlib import Path

from results.document import Document, Table
from results.evidence.protocol import footnotes, require_one, row_protocol
from results.evidence.runs import Evidence
from results.figures.scale import Points, mean_points, plot_ladder
from results.statistics import compared, spread


def power_law(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(a, b) of L = a P^-b through (P, L); None for fewer than two sizes."""
    if len({P for P, _ in points}) < 2:
        return None
    import numpy as np

    slope, intercept = np.polyfit([math.log(P) for P, _ in points], [math.log(L) for _, L in points], 1)
    return math.exp(intercept), -float(slope)


def add_scale(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the table of the ladder and its figure. UserError for runs of different protocols."""
    runs = evidence.runs
    models, baseline = list(dict.fromkeys(run.model for run in runs)), evidence.sweep.baseline
    seeds = len({run.seed for run in runs})
    done = [(run, run.record, run.record.final) for run in runs if run.record is not None and run.record.final]
    require_one([row_protocol(record, final) for _, record, final in done], document.title)
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
    fits = {model: power_law(mean_points(points[model])) for model in models}
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
