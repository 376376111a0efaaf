"""The search for a learning rate: final loss by rate, model by model, and which rate each model takes.

A best rate at the edge of what was tried is no best rate yet, and is said to be one at the edge.
"""

import statistics
from pathlib import Path

from results.document import Document, Table
from results.evidence import Evidence
from results.protocol import footnotes, of_row, require_one
from results.seeds import spread

Losses = dict[str, dict[float, dict[int, float]]]  # model -> rate -> seed -> bits per byte


def build(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the table of rates and that of each model's best. UserError for runs of different protocols."""
    runs = evidence.runs
    models, seeds = list(dict.fromkeys(run.model for run in runs)), len({run.seed for run in runs})
    rates = sorted({float(run.config.optim.lr) for run in runs if run.config.optim.lr is not None})
    done = [(run, run.record, run.record.final) for run in runs if run.record is not None and run.record.final]
    require_one([of_row(record, final) for _, record, final in done], document.title)
    losses: Losses = {model: {} for model in models}
    for run, _, final in done:
        assert run.config.optim.lr is not None, "resolved"
        losses[run.model].setdefault(float(run.config.optim.lr), {})[run.seed] = final["bits_per_byte"]
    lines = [
        {"rate": f"{rate:g}"} | {model: spread(losses[model].get(rate, {}), seeds) for model in models}
        for rate in rates
    ]
    notes = footnotes([record for _, record, _ in done])
    if missing := len(runs) - len(done):
        notes.append(f"{missing} of {len(runs)} runs are missing.")
    data = [
        {"model": run.model, "rate": run.config.optim.lr, "seed": run.seed, "tokens": final["tokens"]}
        | {"bytes": final["bytes"], "bits_per_byte": final["bits_per_byte"]}
        for run, _, final in done
    ]
    title = "final validation loss by peak learning rate, bits per byte"
    if done:
        title += f" on the first {done[0][2]['bytes']:,} validation bytes, after {done[0][2]['tokens']:,} tokens"
    document.tables.append(Table(title, lines, ("rate",), notes, data))
    if done:
        document.tables.append(Table("the best rate of each model", [_best(m, losses[m], rates) for m in models]))


def _best(model: str, by_rate: dict[float, dict[int, float]], rates: list[float]) -> dict[str, str]:
    if not by_rate:
        return {"model": model, "best rate": "not run", "bits per byte": "", "tried": f"0 of {len(rates)} rates"}
    means = {rate: statistics.mean(found.values()) for rate, found in by_rate.items()}
    best = min(means, key=lambda rate: means[rate])
    edge = len(means) > 1 and best in (min(means), max(means))
    return {
        "model": model,
        "best rate": f"{best:g}" + (", at the edge of what was tried" if edge else ""),
        "bits per byte": f"{means[best]:.4f}",
        "tried": f"{len(means)} of {len(rates)} rates",
    }
