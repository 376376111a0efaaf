"""A sweep run by run: what is done is skipped, what was interrupted goes on, one failure does not stop the others.

Which runs are left, and what came of them, is read from the run directories.
"""

import contextlib
import functools
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from configs.compose import compose
from configs.errors import UserError
from configs.schema import RunConfig
from configs.sweeps import Job, Request, expand
from data.sources import open_corpus
from training.announce import duration
from training.atomic import WriteError, make_parent, write_atomically
from training.budget import resolve_shape
from training.launch import launch
from training.record import RunRecord, load
from training.run_directory import run_directory
from training.search import Search

SEED = re.compile("0|[1-9][0-9]{0,8}")  # a seed as it is usually typed; others are composed, and refused if need be
STATES = ("done", "running", "interrupted", "failed", "missing")
FAILED = "failed.txt"  # in the directory of a run that failed before it had a record: why


@dataclass
class SweptRun:
    """One run of a sweep and how far it is. `config`: with its shape resolved."""

    job: Job
    label: str
    config: RunConfig
    folder: Path
    state: str
    record: RunRecord | None
    fault: str | None = None  # why there is no record: it cannot be read, or the run failed before it had one
    damaged: bool = False  # its record cannot be read
    elsewhere: Path | None = None  # where its record lies, if not in its folder


def conduct(request: Request, recorded: Mapping[str, Path] | None = None) -> int:
    """Do what a command line asks of a sweep; the exit code: 0 when nothing failed, 1 when a run did.

    `recorded`: by its label, where the record of a run lies that need not be made again.
    Raises UserError for a sweep that cannot be, before any run of it begins.
    """
    sweep = expand(request.name, request.profile, request.overrides)
    search = Search(sweep, request.sweeper) if request.sweeper.name == "optuna" else None
    looks_only = request.status or request.plan
    recorded = recorded or {}
    runs = look(sweep.jobs, sweep.axes, recorded)
    print(f"{sweep.name}, profile {sweep.profile}: {sweep.title}")
    if not looks_only:
        print(summary(runs))
        work(runs, request, sweep.axes, recorded)
    while search and (jobs := search.propose(runs)):
        proposed = look(jobs, sweep.axes, recorded)
        if not looks_only:
            print("\nOptuna proposes " + ", ".join(run.label for run in proposed))
            work(proposed, request, sweep.axes, recorded)
        runs += proposed
    if looks_only:
        print(summary(runs) + "\n\n" + table(runs))
    if search:
        print("\nThe search:\n" + search.outcome(runs))
    return 0 if looks_only else int(any(run.state == "failed" for run in runs))


def work(runs: list[SweptRun], request: Request, axes: Sequence[str], recorded: Mapping[str, Path]) -> None:
    """Make those of the runs that are left, say which are not and why, and bring their states up to date."""
    wanted = ("missing", "interrupted", "failed") if request.retry_failed else ("missing", "interrupted")
    todo = [run for run in runs if run.state in wanted and not run.damaged]
    for run in runs:
        if run.elsewhere:
            print(f"  its record is there: {run.label} ({run.elsewhere})")
        elif run.state == "done":
            print(f"  done before: {run.label} ({run.folder})")
        elif run.state == "running":
            print(f"  left alone, another process has it: {run.label} ({run.folder})")
        elif run.damaged:
            print(f"  failed: {run.label}: {run.fault}; delete {run.folder} to make the run again")
        elif run not in todo:
            print(f"  failed before: {run.label}: {error_of(run)}; retry_failed=true tries again")
    if not todo:
        return
    for data in {repr(run.config.data): run.config.data for run in todo}.values():
        open_corpus(data)  # once, and before the first run: a corpus that is not there fails them all
    found = launch([run.job.overrides for run in todo], request.launcher)
    errors = {run.folder: error for run, error in zip(todo, found, strict=True) if error}
    for folder, error in errors.items():
        if not (folder / "record.json").exists():
            with contextlib.suppress(WriteError):  # the run's own error says more
                make_parent(folder / FAILED)
                write_atomically(folder / FAILED, (error + "\n").encode())
    runs[:] = look([run.job for run in runs], axes, recorded)
    for run in runs:
        if run.folder in errors and run.state not in ("done", "running"):
            run.state = "failed"
    print("\n" + summary(runs))
    for run in runs:
        if run.folder in errors and run.state == "running":
            print(f"  left alone, another process took it: {run.label} ({run.folder})")
        elif run.folder in errors:
            print(f"failed: {run.label}: {errors[run.folder]}", file=sys.stderr)


def look(jobs: Sequence[Job], axes: Sequence[str], recorded: Mapping[str, Path] | None = None) -> list[SweptRun]:
    """Each run of a sweep with its directory and state. UserError for a config that cannot be, or two that are one.

    One that has a record elsewhere (`recorded`: label -> path) is done.
    """
    found: dict[Path, SweptRun] = {}
    for job, config in configured(jobs):
        label = label_of(job, axes)
        folder = run_directory(config)
        if folder in found:
            raise UserError(f"{found[folder].label} and {label} are one and the same run: leave one out")
        try:
            state, record = state_of(folder)
            early = folder / FAILED
            fault = early.read_text(encoding="utf-8").strip() if state == "failed" and record is None else None
            elsewhere = (recorded or {}).get(label) if state != "done" else None
            if elsewhere:
                state, record = "done", load(elsewhere)
            found[folder] = SweptRun(job, label, config, folder, state, record, fault, elsewhere=elsewhere)
        except UserError as error:  # a damaged record is that run's trouble, not the others'
            found[folder] = SweptRun(job, label, config, folder, "failed", None, str(error), True)
    return list(found.values())


def label_of(job: Job, axes: Sequence[str]) -> str:
    """A run's name among those of its sweep: its row, and its value on each axis."""
    given = dict(text.split("=", 1) for text in job.overrides)
    return " ".join([*([job.row] if job.row else []), *(f"{axis}={given[axis]}" for axis in axes)])


def configured(jobs: Sequence[Job]) -> list[tuple[Job, RunConfig]]:
    """Each run with its config, its shape resolved. UserError for a config that cannot be.

    Composing takes a third of a second, so runs that differ in their seed alone, or that several sweeps have, are
    composed once.
    """
    found = []
    for job in jobs:
        seed = next((text.partition("=")[2] for text in reversed(job.overrides) if text.startswith("seed=")), "0")
        if SEED.fullmatch(seed):
            others = tuple(text for text in job.overrides if not text.startswith("seed="))
            config = replace(deepcopy(_composed(others)), seed=int(seed))
        else:
            config = resolve_shape(compose("train", job.overrides), 256)
        found.append((job, config))
    return found


@functools.cache
def _composed(overrides: tuple[str, ...]) -> RunConfig:
    return resolve_shape(compose("train", overrides), 256)


def state_of(folder: Path) -> tuple[str, RunRecord | None]:
    """One of STATES, and the record if there is one. A run whose process was killed is interrupted."""
    if not (folder / "record.json").exists():
        return "failed" if (folder / FAILED).exists() else "missing", None
    record = load(folder)
    if record.status != "running":
        return record.status, record
    try:
        with FileLock(folder / ".lock", timeout=0):
            return "interrupted", record
    except Timeout:
        return "running", record


def error_of(run: SweptRun) -> str:
    """Why a run failed, as its record has it, or why it has none."""
    return run.fault or (run.record.error if run.record else None) or "no reason is recorded"


def summary(runs: Sequence[SweptRun]) -> str:
    """How many runs are in each state, and the training time left, estimated from those that are done."""
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    parts = [f"{n} {state}" for state, n in counts.items() if n]
    left = time_left(runs)
    done = counts["done"]
    if left is not None and done < len(runs):
        parts.append(f"about {duration(left)} of training left, by {done} finished run{'s'[: done != 1]}")
    return f"{len(runs)} runs: " + ", ".join(parts)


def time_left(runs: Sequence[SweptRun]) -> float | None:
    """Seconds of training that are left, over all runs that are not done; None when none is done yet.

    A run takes as long as the finished ones of its model and scale (median), else of its scale, else of any, in
    proportion to the budget. Of an interrupted run the part that its last row had reached is taken off.
    """
    done = [run for run in runs if run.state == "done" and run.record is not None]
    if not done:
        return None
    total = 0.0
    for run in runs:
        if run.state == "done":
            continue
        scale, model = run.config.scale, run.config.model.name
        alike = [d for d in done if d.config.scale == scale]
        alike = [d for d in alike if d.config.model.name == model] or alike or done
        seconds = statistics.median(_seconds(d) * scale.parameters / d.config.scale.parameters for d in alike)
        if run.record is not None and run.record.metrics:
            tokens = statistics.median(d.record.final["tokens"] for d in alike if d.record and d.record.final)
            seconds *= max(0.0, 1 - run.record.metrics[-1]["tokens"] / tokens)
        total += seconds
    return total


def _seconds(run: SweptRun) -> float:
    assert run.record is not None
    return run.record.throughput.seconds


def table(runs: Sequence[SweptRun]) -> str:
    """One line a run: its state, how far it is and what came out; below, why those failed that did."""
    rows = []
    for run in runs:
        last = (run.record.final or (run.record.metrics or [{}])[-1]) if run.record else {}
        result = f"{last['bits_per_byte']:.4f}" if run.state == "done" else ""
        rows.append((run.state, run.label, f"{last['tokens']:,}" if last else "", result, str(run.folder)))
    head = ("state", "run", "tokens", "bits per byte", "folder")
    width = [max(len(row[i]) for row in [head, *rows]) for i in range(4)]
    lines = ([*(cell.ljust(w) for cell, w in zip(row, width, strict=False)), row[4]] for row in [head, *rows])
    failed = [f"failed: {run.label}: {error_of(run)}" for run in runs if run.state == "failed"]
    return "\n".join(["  ".join(line) for line in lines] + (["", *failed] if failed else []))
