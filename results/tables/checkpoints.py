"""Validation loss at every checkpoint: models side by side, their differences to the baseline, and what they cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measures.statistics import shown_difference, shown_mean
from results.document import Document, Row, Table, amount
from results.evidence.protocol import UNPAIRED, footnotes, require_one, row_protocol
from results.evidence.runs import Evidence, Run
from results.figures.curves import drawn, plot_curves
from results.tables.equal_cost import by_name, cost_table

Losses = dict[str, dict[int, float]]  # model -> seed -> bits per byte
Validation = tuple[Run, dict[str, Any]]  # a run and one of its validation rows


def add_checkpoints(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the tables and the curves of each row of the sweep (each length of training) to the document.

    A table holds checkpoints that were validated on the same bytes: the last one may take more than those before it,
    and then has a table of its own. UserError for runs of different protocols.
    """
    for row in dict.fromkeys(run.row for run in evidence.runs):
        runs = [run for run in evidence.runs if run.row == row]
        name = f"{row}, " if row else ""
        _add_tables(runs, evidence, document, name)
        records = [run.record for run in runs if run.record is not None]
        if records:
            if costs := cost_table(name, by_name((run.model, run.record) for run in runs if run.record)):
                document.tables.append(costs)
            path = folder / (f"{stem}-{row.replace(' ', '-')}" if row else stem)
            plot_curves(records, path)
            caption = f"{name}{evidence.corpus}: validation loss against training tokens; {drawn(records)}"
            document.figures.append((path.name, caption))


def _add_tables(runs: Sequence[Run], evidence: Evidence, document: Document, name: str) -> None:
    models = list(dict.fromkeys(run.model for run in runs))
    seeds = {run.seed for run in runs}
    baseline = evidence.sweep.baseline
    checkpoints: dict[tuple[int, int], list[Validation]] = {}  # (bytes, step)
    for run in runs:
        for row in run.record.rows("validation") if run.record else []:
            checkpoints.setdefault((row["bytes"], row["step"]), []).append((run, row))
    notes = footnotes([run.record for run in runs if run.record])
    notes += evidence.shortfall(runs)
    if not checkpoints:
        absent = {"checkpoint": "all", **dict.fromkeys(models, "not run")}
        document.tables.append(Table(f"{name}bits per byte", [absent], ("checkpoint",), notes))
        return
    for n_bytes in sorted({n for n, _ in checkpoints}):
        at_step = {step: validations for (n, step), validations in sorted(checkpoints.items()) if n == n_bytes}
        every = [validation for validations in at_step.values() for validation in validations]
        require_one([row_protocol(run.record, row) for run, row in every if run.record], document.title)
        losses = {step: _losses(validations) for step, validations in at_step.items()}
        names = {step: _name(validations[0][1]) for step, validations in at_step.items()}
        means = [_means(names[step], losses[step], models, len(seeds)) for step in at_step]
        differences = [_differences(names[step], losses[step], models, baseline, len(seeds)) for step in at_step]
        data = [
            {"checkpoint": row["step"], "tokens": row["tokens"], "epoch": row["epoch"], "bytes": row["bytes"]}
            | {"row": run.row, "model": run.model, "seed": run.seed, "bits_per_byte": row["bits_per_byte"]}
            for run, row in every
        ]
        what = f"bits per byte on the first {n_bytes:,} validation bytes of {evidence.corpus}"
        document.tables.append(
            Table(f"{name}{what}: mean ± 95 % interval over seeds", means, ("checkpoint",), notes, data)
        )
        if len(differences[0]) > 1:
            title = f"{name}difference to {baseline} ± 95 % interval over seeds, {what}"
            said = any(UNPAIRED in table.notes for table in document.tables)
            document.tables.append(Table(title, differences, ("checkpoint",), [] if said else [UNPAIRED]))


def _losses(validations: Sequence[Validation]) -> Losses:
    losses: Losses = {}
    for run, row in validations:
        losses.setdefault(run.model, {})[run.seed] = row["bits_per_byte"]
    return losses


def _name(row: dict[str, Any]) -> str:
    """`epoch 3` where that is whole, else the training tokens, in millions where they are many."""
    epoch, tokens = row["epoch"], row["tokens"]
    if epoch and float(epoch).is_integer():
        return f"epoch {epoch:.0f}"
    return f"{amount(tokens)} tokens"


def _means(name: str, losses: Losses, models: Sequence[str], seeds: int) -> Row:
    return {"checkpoint": name} | {model: shown_mean(losses.get(model, {}), seeds) for model in models}


def _differences(name: str, losses: Losses, models: Sequence[str], baseline: str, seeds: int) -> Row:
    theirs = losses.get(baseline, {})
    return {"checkpoint": name} | {
        model: shown_difference(losses.get(model, {}), theirs, seeds) or "not run"
        for model in models
        if model != baseline
    }
