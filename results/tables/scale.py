"""The scale ladder: final loss against trainable parameters, a power law through each model's means, and the cost.

L(P) = a P^-b, a straight line on logarithmic axes, fitted to the logarithms by least squares (our choice). Two sizes
always lie on one, so it takes three.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from measures.statistics import shown_difference, shown_mean
from results.document import Document, Table
from results.evidence.protocol import UNPAIRED, footnotes, require_one, row_protocol, trained_on
from results.evidence.runs import Evidence
from results.figures.scale import Points, mean_points, plot_ladder
from results.tables.equal_cost import by_name, cost_table

FEWEST_SIZES = 3


def power_law(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(a, b) of L = a P^-b through (P, L); None for fewer than three sizes."""
    if len({P for P, _ in points}) < FEWEST_SIZES:
        return None
    import numpy as np

    slope, intercept = np.polyfit([math.log(P) for P, _ in points], [math.log(L) for _, L in points], 1)
    return math.exp(intercept), -float(slope)


def add_scale(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the tables of the ladder and of the costs, and the figure. UserError for runs of different protocols."""
    runs = evidence.runs
    models, baseline = list(dict.fromkeys(run.model for run in runs)), evidence.sweep.baseline
    seeds = len({run.seed for run in runs})
    finals = evidence.finals
    require_one([row_protocol(record, final) for _, record, final in finals], document.title)
    points: Points = {model: {} for model in models}
    for run, _, final in finals:
        points[run.model].setdefault(run.config.scale.parameters, {})[run.seed] = final["bits_per_byte"]
    scales = dict(sorted({run.config.scale.parameters: run.config.scale.name for run in runs}.items()))
    lines = []
    for parameters, name in scales.items():
        losses = {model: points[model].get(parameters, {}) for model in models}
        line = {"scale": name} | {model: shown_mean(losses[model], seeds) for model in models}
        for model in models:
            if model != baseline:
                difference = shown_difference(losses[model], losses.get(baseline, {}), seeds)
                line[f"{model} minus {baseline}"] = difference
        lines.append(line)
    fits = {model: power_law(mean_points(points[model])) for model in models}
    notes = [f"{model}: L = {fit[0]:.3f} P^-{fit[1]:.4f}." for model, fit in fits.items() if fit]
    if finals and not notes:
        notes = [f"No power law is fitted: that takes {FEWEST_SIZES} sizes, two lie on one whatever the losses are."]
    notes += [UNPAIRED] if finals else []
    notes += footnotes([record for _, record, _ in finals]) + evidence.shortfall()
    data = [
        {"scale": run.config.scale.name, "parameters": record.parameters["total"], "model": run.model, "seed": run.seed}
        | {"tokens": final["tokens"], "bytes": final["bytes"], "bits_per_byte": final["bits_per_byte"]}
        for run, record, final in finals
    ]
    what = "final validation loss, bits per byte"
    protocol = ""
    if finals:
        final = finals[0][2]
        protocol = f" after {final['tokens']:,} tokens, first {final['bytes']:,} validation bytes"
    title = f"{what}{protocol}, by trainable parameters, means and differences ± 95 % interval over seeds"
    document.tables.append(Table(title, lines, ("scale",), notes, data))
    for name in scales.values():
        records = by_name((run.model, record) for run, record, _ in finals if run.config.scale.name == name)
        if costs := cost_table(f"{name}: ", records):
            if costs.notes == document.tables[-1].notes:
                document.tables[-1].notes = []  # those of the last stand for all
            document.tables.append(costs)
    if finals:
        title = f"Validation loss by size, means ± 95 % interval over seeds\n{evidence.corpus}{protocol}\n"
        plot_ladder(points, fits, folder / stem, title + trained_on([record for _, record, _ in finals]))
        caption = f"{evidence.corpus}: final validation loss{protocol}, against parameters, both axes logarithmic; "
        caption += "mean over seeds ± 95 % interval" + (", with power laws" if any(fits.values()) else "")
        document.figures.append((stem, caption))
