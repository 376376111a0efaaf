"""How much heads of Selective Synchronization Attention lock, layer by layer, as training goes.

The locked fraction is that of `synchrony_at_start`, before the first step, and of the validations (`synchrony` of a
metric row): of the pairs a causal head may lock on the first windows of the validation split, those that it weighs at
all.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measures.statistics import shown_mean
from results.document import Document, Row, Table
from results.evidence.locking import LOCKED, locked_rows
from results.evidence.protocol import described
from results.evidence.runs import Evidence, Run
from results.figures.locking import LEAST, plot_locking


def add_locking(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the locked fraction by layer, from the start, and a figure of it by head; nothing without such runs."""
    runs = [run for run in evidence.runs if locked_rows(run)]
    for variant in dict.fromkeys(run.variant for run in runs):
        of_variant = [run for run in runs if run.variant == variant]
        wanted = sum(run.variant == variant for run in evidence.runs)
        title = f"{variant}: locked fraction over training, on the windows of {evidence.corpus}: mean "
        title += "over heads ± 95 % interval over seeds (least to largest head, each a mean over seeds)"
        document.tables.append(Table(title, _rows(of_variant, wanted), ("tokens",), data=_data(variant, of_variant)))
        name = f"{stem}-locking" if variant == of_variant[0].model else f"{stem}-locking-{variant.replace(' ', '-')}"
        records = [run.record for run in of_variant if run.record]
        plot_locking(of_variant, folder / name, f"Locked fraction of {variant}, by head\n{described(records)}")
        caption = f"{evidence.corpus}, {variant}: locked fraction over training, a line for each head of each seed"
        caption += f"; less than {LEAST:g} is drawn as that"
        document.figures.append((name, caption))


def add_locking_ends(evidence: Evidence, document: Document) -> None:
    """Add the locked fraction by layer as first and as last measured, a line for each variant; or nothing."""
    runs = [run for run in evidence.runs if locked_rows(run)]
    lines: list[Row] = []
    for variant in dict.fromkeys(run.variant for run in runs):
        of_variant = [run for run in runs if run.variant == variant]
        wanted = sum(run.variant == variant for run in evidence.runs)
        whole = _rows(of_variant, wanted)
        lines += [{"variant": variant, **row} for row in (whole if len(whole) < 2 else (whole[0], whole[-1]))]
    if lines:
        columns = list(dict.fromkeys(column for line in lines for column in line))
        title = f"locked fraction as first and as last measured, windows of {evidence.corpus}: mean "
        title += "over heads ± 95 % interval over seeds (least to largest head, each a mean over seeds)"
        rows = [{column: line.get(column, "no such layer") for column in columns} for line in lines]
        document.tables.append(Table(title, rows, ("variant",)))


def _rows(runs: Sequence[Run], wanted: int) -> list[Row]:
    """A row for the start and each validation, a column for each layer."""
    at: dict[int, dict[int, list[list[float]]]] = {}  # tokens -> seed -> layer -> head
    for run in runs:
        for row in locked_rows(run):
            at.setdefault(row["tokens"], {})[run.seed] = row[LOCKED]
    lines = []
    for tokens, by_seed in sorted(at.items()):
        line = {"tokens": f"{tokens:,}"}
        for layer in range(max(map(len, by_seed.values()))):
            heads = {seed: layers[layer] for seed, layers in by_seed.items() if layer < len(layers)}
            least, largest = (statistics.mean(map(extreme, heads.values())) for extreme in (min, max))
            mean = shown_mean({seed: statistics.mean(values) for seed, values in heads.items()}, wanted, digits=3)
            line[f"layer {layer}"] = f"{mean} ({least:.3f} to {largest:.3f})"
        lines.append(line)
    return lines


def _data(variant: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [
        {"variant": variant, "model": run.model, "seed": run.seed, "step": row["step"], "tokens": row["tokens"]}
        | {"layer": layer, "head": head, LOCKED: value}
        for run in runs
        for row in locked_rows(run)
        for layer, heads in enumerate(row[LOCKED])
        for head, value in enumerate(heads)
    ]
