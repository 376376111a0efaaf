"""Validation loss at every checkpoint: models side by side, and their differences to the baseline seed by seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.document import Document, Row, Table
from results.evidence.protocol import footnotes, require_one, row_protocol
from results.evidence.runs import Evidence, Run
from results.figures.curves import plot_curves
from results.statistics import compared, spread

Losses = dict[str, dict[int, float]]  # model -> seed -> bits per byte


def add_checkpoints(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the tables and the curves of each row of the sweep (each length of training) to the document.

    A table holds checkpoints that were validated on the same bytes: the last one may take more than those before it,
    and then stands in a table of its own. UserError for runs of different protocols.
    """
    for row in dict.fromkeys(run.row for run in evidence.runs):
        runs = [run for run in evidence.runs if run.row == row]
        name = f"{row}, " if row else ""
        _add_tables(runs, evidence, document, name)
        records = [run.record for run in runs if run.record is not None]
        if records:
            path = folder / (f"{stem}-{row.replace(' ', '-')}" if row else stem)
            plot_curves(records, path)
            seeds = len({run.seed for run in runs})
            caption = f"{name}{evidence.corpus}: validation loss against training tokens, mean over {seeds} seeds in "
            caption += "a band from the least to the largest"
            if len({row["bytes"] for record in records for row in record.rows("validation")}) > 1:
                caption += "; the last validation, on more bytes, stands in the table alone"
            document.figures.append((path.name, caption))


def _add_tables(runs: Sequence[Run], evidence: Evidence, document: Document, name: str) -> None:
    models = list(dict.fromkeys(run.model for run in runs))
    seeds = {run.seed for run in runs}
    baseline = evidence.sweep.baseline
    checkpoints: dict[tuple[int, int], list[tuple[Run, dict[str, Any]]]] = {}  # (bytes, step)
    for run in runs:
        for found in run.record.rows("validation") if run.record else []:
            checkpoints.setdefault((found["bytes"], found["step"]), []).append((run, found))
    notes = footnotes([run.record for run in runs if run.record])
    notes += evidence.shortfall(runs)
    if not checkpoints:
        row = {"checkpoint": "all", **dict.fromkeys(models, "not run")}
        document.tables.append(Table(f"{name}bits per byte", [row], ("checkpoint",), notes))
        return
    for n_bytes in sorted({n for n, _ in checkpoints}):
        at = {step: found for (n, step), found in sorted(checkpoints.items()) if n == n_bytes}
        every = [pair for found in at.values() for pair in found]
        require_one([row_protocol(run.record, row) for run, row in every if run.record], document.title)
        losses = {step: _losses(found) for step, found in at.items()}
        names = {step: _name([row for _, row in found]) for step, found in at.items()}
        means = [_means(names[step], losses[step], models, len(seeds)) for step in at]
        differences = [_differences(names[step], losses[step], models, baseline, len(seeds)) for step in at]
        data = [
            {"checkpoint": row["step"], "tokens": row["tokens"], "epoch": row["epoch"], "bytes": row["bytes"]}
            | {"row": run.row, "model": run.model, "seed": run.seed, "bits_per_byte": row["bits_per_byte"]}
            for run, row in every
        ]
        of = f"the first {n_bytes:,} validation bytes of {evidence.corpus}"
        title = f"{name}bits per byte on {of}: mean ± standard deviation over seeds"
        document.tables.append(Table(title, means, ("checkpoint",), notes, data))
        if len(differences[0]) > 1:
            title = f"{name}difference to {baseline} of the same seed: mean ± 95 % interval, bits per byte, {of}"
            document.tables.append(Table(title, differences, ("checkpoint",)))


def _losses(found: Sequence[tuple[Run, dict[str, Any]]]) -> Losses:
    losses: Losses = {}
    for run, row in found:
        losses.setdefault(run.model, {})[run.seed] = row["bits_per_byte"]
    return losses


def _name(rows: Sequence[dict[str, Any]]) -> str:
    """`epoch 3` where that is whole, else the training tokens, in millions where they are many."""
    epoch, tokens = rows[0]["epoch"], rows[0]["tokens"]
    if epoch and float(epoch).is_integer():
        return f"epoch {epoch:.0f}"
    return f"{tokens:,} tokens" if tokens < 100_000 else f"{tokens / 1e6:.2f} M tokens"


def _means(name: str, losses: Losses, models: Sequence[str], seeds: int) -> Row:
    return {"checkpoint": name} | {model: spread(losses.get(model, {}), seeds) for model in models}


def _differences(name: str, losses: Losses, models: Sequence[str], baseline: str, seeds: int) -> Row:
    row = {"checkpoint": name}
    for model in models:
        if model == baseline:
            continue
        row[model] = compared(losses.get(model, {}), losses.get(baseline, {}), seeds) or "not run"
    return row
