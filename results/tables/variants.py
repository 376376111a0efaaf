"""Final validation loss of variants side by side, and their differences to one of them, seed by seed."""

import statistics
from pathlib import Path

from results.document import Document, Table
from results.evidence.protocol import footnotes, require_one, row_protocol
from results.evidence.runs import Evidence
from results.statistics import compared, spread
from results.tables.locking import add_locking_ends


def add_variants(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add one table: a line for each row of the sweep, or each model where it has no rows; best first, not run last.

    UserError for runs of different protocols.
    """
    runs = evidence.runs
    variants = list(dict.fromkeys(run.row or run.model for run in runs))
    seeds = len({run.seed for run in runs})
    done = [(run, run.record, run.record.final) for run in runs if run.record is not None and run.record.final]
    require_one([row_protocol(record, final) for _, record, final in done], document.title)
    losses: dict[str, dict[int, float]] = {variant: {} for variant in variants}
    for run, _, final in done:
        losses[run.row or run.model][run.seed] = final["bits_per_byte"]
    baseline = evidence.sweep.baseline
    lines = []
    for variant in sorted(variants, key=lambda v: (not losses[v], statistics.mean(losses[v].values() or [0]))):
        of = next((record for run, record, _ in done if (run.row or run.model) == variant), None)
        lines.append(
            {
                "variant": variant,
                "bits per byte": spread(losses[variant], seeds),
                f"minus {baseline}": ""
                if variant == baseline
                else compared(losses[variant], losses.get(baseline, {}), seeds),
                "parameters": f"{of.parameters['total']:,}" if of else "",
            }
        )
    title = "Final validation loss"
    if done:
        final = done[0][2]
        title += f" after {final['tokens']:,} tokens, bits per byte on the first {final['bytes']:,} validation "
        title += f"bytes of {evidence.corpus}: mean ± standard deviation over seeds; difference with its 95 % interval"
    notes = footnotes([record for _, record, _ in done]) + evidence.shortfall()
    data = [
        {"variant": run.row or run.model, "model": run.model, "seed": run.seed, "tokens": final["tokens"]}
        | {"bytes": final["bytes"], "bits_per_byte": final["bits_per_byte"], "parameters": record.parameters["total"]}
        for run, record, final in done
    ]
    document.tables.append(Table(title, lines, ("variant",), notes, data))
    add_locking_ends(evidence, document)
