"""Final validation loss of variants side by side, their differences to one of them, and what they cost."""

import statistics
from pathlib import Path
from typing import Any

from measures.statistics import shown_difference, shown_mean
from results.document import Document, Table
from results.evidence.protocol import UNPAIRED, footnotes, require_one, row_protocol
from results.evidence.runs import Evidence
from results.tables.equal_cost import by_name, cost_table
from results.tables.locking import add_locking_ends
from results.tables.other_texts import add_other_texts
from results.tables.perplexities import perplexities


def add_variants(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the losses and the costs, a line for each row of the sweep, or each model where it has no rows; best first,
    not run last. UserError for runs of different protocols.
    """
    runs = evidence.runs
    seeds = len({run.seed for run in runs})
    finals = evidence.finals
    require_one([row_protocol(record, final) for _, record, final in finals], document.title)
    rows: dict[str, dict[int, dict[str, Any]]] = {run.variant: {} for run in runs}
    for run, _, final in finals:
        rows[run.variant][run.seed] = final
    losses = {
        variant: {seed: float(row["bits_per_byte"]) for seed, row in of_variant.items()}
        for variant, of_variant in rows.items()
    }
    best_first = sorted(losses, key=lambda v: (not losses[v], statistics.mean(losses[v].values() or [0])))
    records = by_name((run.variant, record) for run, record, _ in finals)
    baseline = evidence.sweep.baseline
    theirs = losses.get(baseline, {})
    lines = [
        {
            "variant": variant,
            "bits per byte": shown_mean(losses[variant], seeds),
            f"minus {baseline}": "" if variant == baseline else shown_difference(losses[variant], theirs, seeds),
            **perplexities(rows, variant, seeds),
            "parameters": f"{records[variant][0].parameters['total']:,}" if variant in records else "",
        }
        for variant in best_first
    ]
    title = "Final validation loss"
    if finals:
        final = finals[0][2]
        title += f" after {final['tokens']:,} tokens, bits per byte on the first {final['bytes']:,} validation "
        title += f"bytes of {evidence.corpus}, means and differences ± 95 % interval over seeds"
    notes = ([UNPAIRED] if finals else []) + footnotes([record for _, record, _ in finals]) + evidence.shortfall()
    data = [
        {"variant": run.variant, "model": run.model, "seed": run.seed, "tokens": final["tokens"]}
        | {"bytes": final["bytes"], "bits_per_byte": final["bits_per_byte"], "parameters": record.parameters["total"]}
        for run, record, final in finals
    ]
    document.tables.append(Table(title, lines, ("variant",), notes, data))
    if costs := cost_table("", {variant: records[variant] for variant in best_first if variant in records}):
        document.tables.append(costs)
    add_other_texts(evidence, document)
    add_locking_ends(evidence, document)
