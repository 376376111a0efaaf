"""The search for a learning rate: final loss by rate, model by model, and which rate each model takes.

Beside the rates of the sweep's grid stand all others that were tried, by a search (sweeper=optuna) for example. A
best rate at the edge of what was tried is no best rate yet, and is said to be one at the edge.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.compose import config_dict
from configs.schema import DataConfig
from configs.sweeps import Job, Sweep
from measures.statistics import shown_mean
from results.document import Document, Table
from results.evidence.protocol import footnotes, require_one, row_protocol
from results.evidence.runs import Evidence, RecordFile, gather, identity, typed_precisely
from training.run_record.record import RunRecord
from training.sweeps.search import KEY, at_rate
from training.sweeps.swept_run import configured_jobs, label_of

Losses = dict[str, dict[float, dict[int, float]]]  # model -> rate -> seed -> bits per byte


def gather_all(
    sweep: Sweep,
    records: Sequence[RecordFile],
    damaged: Sequence[str] = (),
    corpus: Callable[[DataConfig], str | None] | None = None,
    rank: Callable[[RunRecord], Any] | None = None,
) -> list[Evidence]:
    """As `results.evidence.runs.gather`, with the runs of other rates than the grid's that are on record."""
    asked = {label_of(job, sweep.axes) for job in sweep.jobs}
    evidence = gather(_with_tried(sweep, records), records, damaged, corpus, rank)
    for part in evidence:  # a rate that was tried on one corpus is no missing run of another
        part.sweep = sweep
        part.runs = [run for run in part.runs if run.label in asked or run.record or run.failure]
    return evidence


def _with_tried(sweep: Sweep, records: Sequence[RecordFile]) -> Sweep:
    """The sweep with a job for each run on record that differs from one of its own in the rate alone."""
    like: dict[str, Job] = {}  # identity without the rate -> a job
    rates: dict[str, set[float]] = {}
    typed = typed_precisely(sweep.jobs[0])
    for job, config in configured_jobs(sweep.jobs):
        key = identity(config_dict(config), config.seed, typed, but=(KEY,))
        like.setdefault(key, job)
        rates.setdefault(key, set()).add(float(config.optim.lr or 0))
    tried = set()
    for _, record in records:
        rate = record.config.get("optim", {}).get("lr")
        key = identity(record.config, record.seed, typed, but=(KEY,))
        if rate is not None and key in like and float(rate) not in rates[key]:
            tried.add((float(rate), key))
    more = [at_rate(like[key], rate) for rate, key in sorted(tried)]
    return replace(sweep, jobs=[*sweep.jobs, *more])


def add_rates(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the table of rates and that of each model's best. UserError for runs of different protocols."""
    runs = evidence.runs
    models, seeds = list(dict.fromkeys(run.model for run in runs)), len({run.seed for run in runs})
    asked = {model: sorted({float(run.config.optim.lr or 0) for run in runs if run.model == model}) for model in models}
    rates = sorted({rate for of_model in asked.values() for rate in of_model})
    finals = evidence.finals
    require_one([row_protocol(record, final) for _, record, final in finals], document.title)
    losses: Losses = {model: {} for model in models}
    for run, _, final in finals:
        assert run.config.optim.lr is not None, "resolved"
        losses[run.model].setdefault(float(run.config.optim.lr), {})[run.seed] = final["bits_per_byte"]
    failed = {(run.model, float(run.config.optim.lr or 0)) for run in runs if run.failed}
    lines = [
        {"rate": f"{rate:g}"}
        | {
            model: (
                shown_mean(losses[model].get(rate, {}), seeds)
                + (", some did not end" if (model, rate) in failed else "")
                if rate in asked[model]
                else ""
            )
            for model in models
        }
        for rate in rates
    ]
    notes = footnotes([record for _, record, _ in finals]) + evidence.shortfall()
    grid = {label_of(job, evidence.sweep.axes) for job in evidence.sweep.jobs}
    if beside := sorted({float(run.config.optim.lr or 0) for run in runs if run.label not in grid}):
        values = ", ".join(f"{rate:g}" for rate in beside)
        notes.append(f"Not of the sweep's grid, but typed or proposed by a search (sweeper=optuna): {values}.")
    data = [
        {"model": run.model, "rate": run.config.optim.lr, "seed": run.seed, "tokens": final["tokens"]}
        | {"bytes": final["bytes"], "bits_per_byte": final["bits_per_byte"]}
        for run, _, final in finals
    ]
    title = "final validation loss by peak learning rate, bits per byte"
    if finals:
        title += f" on the first {finals[0][2]['bytes']:,} validation bytes, after {finals[0][2]['tokens']:,} tokens"
        title += ", mean ± 95 % interval over seeds" if seeds > 1 else ""
    document.tables.append(Table(title, lines, ("rate",), notes, data))
    if finals:
        best = [
            _best(model, losses[model], asked[model], {rate for name, rate in failed if name == model})
            for model in models
        ]
        document.tables.append(Table("the best rate of each model", best))


def _best(model: str, by_rate: dict[float, dict[int, float]], rates: list[float], failed: set[float]) -> dict[str, str]:
    """The rate of the lowest mean, of those with as many seeds as any and no run that failed.

    What survives at the others is no fair mean.
    """
    most = max(map(len, by_rate.values()), default=0)
    whole = {rate: seeds for rate, seeds in by_rate.items() if rate not in failed and len(seeds) == most}
    ended = by_rate.keys() | failed
    tried = f"{len(ended)} of {len(rates)} rates"
    if failed:
        tried += f", {len(failed)} of them with runs that did not end"
    if fewer := len(by_rate.keys() - whole.keys() - failed):
        tried += f", {fewer} of them with fewer seeds"
    if not whole:
        return {"model": model, "best rate": "none" if failed else "not run", "bits per byte": "", "tried": tried}
    means = {rate: statistics.mean(seeds.values()) for rate, seeds in whole.items()}
    best = min(means, key=lambda rate: means[rate])
    edge = len(ended) > 1 and best in (min(ended), max(ended))
    return {
        "model": model,
        "best rate": f"{best:g}" + (", at the edge of what was tried" if edge else ""),
        "bits per byte": f"{means[best]:.4f}",
        "tried": tried,
    }
