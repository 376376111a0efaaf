"""A sweep run by run: what is done is skipped, what was interrupted goes on, one failure does not stop the others.

Which runs are left, and how the others ended, is read from the run directories.
"""

import contextlib
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from configs.command import line_of
from configs.counted import counted
from configs.errors import UserError
from configs.heartbeat import beating, doing, duration
from configs.sweeps import Request, combined, expand
from data.atomic_write import WriteError, write_atomically
from data.sources import open_data
from training.processes.launcher import recognised
from training.run_record.run_directory import FAILED
from training.sweeps.launch import launch
from training.sweeps.own_process import Failure
from training.sweeps.search import Search
from training.sweeps.swept_run import STATES, SweptRun, error_of, look
from training.units import BITS_PER_BYTE, unit_of


def conduct(
    request: Request,
    recorded: Mapping[str, Path] | None = None,
    at_end: Callable[[Sequence[Path]], None] = lambda finished: None,
) -> int:
    """Do what a command line asks of a sweep; the exit code: 0 when nothing failed, 1 when a run did.

    `recorded`: by its label, where the record of a run lies that need not be made again. `at_end` is called once, after
    the last run, with where the finished ones lie.
    Raises UserError for a sweep that cannot be, before any run of it begins.
    """
    conducted = by_one_process(request)
    if conducted is None:
        return 0
    request = conducted
    if request.name:
        sweep = expand(request.name, request.profile, request.overrides)
        print(f"{sweep.name}, profile {sweep.profile}: {sweep.title}")
    else:
        sweep = combined(request.overrides)
    search = Search(sweep, request.sweeper) if request.sweeper.name == "optuna" else None
    looks_only = request.status or request.plan
    recorded = recorded or {}
    runs = look(sweep.jobs, sweep.axes, recorded)
    if not looks_only:
        print(summary(runs))
        make_missing(runs, request, sweep.axes, recorded)
    while search and (jobs := search.propose(runs)):
        proposed = look(jobs, sweep.axes, recorded)
        if not looks_only:
            print("\nOptuna proposes " + ", ".join(run.label for run in proposed))
            make_missing(proposed, request, sweep.axes, recorded)
        runs += proposed
    print(("" if looks_only else "\n") + summary(runs) + "\n\n" + state_table(runs), flush=True)
    if search:
        print("\nThe search:\n" + search.outcome(runs), flush=True)
    if not looks_only:
        at_end([run.elsewhere or run.folder for run in runs if run.state == "done"])
    failed = [run for run in runs if run.state == "failed"]
    for run in failed:
        print(f"failed: {run.label}: {error_of(run)}", file=sys.stdout if looks_only else sys.stderr)
    return 0 if looks_only else int(bool(failed))


def by_one_process(request: Request) -> Request | None:
    """The request as the one process that conducts it has it. None in the others that torchrun or srun started: each
    run of a sweep has processes of its own, as many, which that one starts.

    UserError for several machines, and for another number of devices than there are processes.
    """
    place = recognised(os.environ)
    if place is None or not place.external:
        return request
    if place.nodes > 1:
        raise UserError(
            f"a sweep starts the processes of its runs on one machine,"
            f" and {place.launcher} started it on {place.nodes}; "
            f"type each run by itself, or the sweep on one machine with trainer.devices={place.local_size}"
        )
    devices = f"trainer.devices={place.size}"
    typed = [text for text in request.overrides if text.startswith("trainer.devices=")]
    if set(typed) - {devices}:
        raise UserError(f"{typed[-1]}, but {place.launcher} started {place.size} processes: type {devices}")
    return replace(request, overrides=[*request.overrides, devices]) if place.rank == 0 else None


def make_missing(runs: list[SweptRun], request: Request, axes: Sequence[str], recorded: Mapping[str, Path]) -> None:
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
    absent = _absent(todo)
    failures = {run.folder: absent[repr(run.config.data)] for run in todo if repr(run.config.data) in absent}
    todo = [run for run in todo if run.folder not in failures]
    outcomes = launch([run.config for run in todo], request.launcher)
    failures |= {run.folder: failure for run, failure in zip(todo, outcomes, strict=True) if failure}
    for folder, failure in failures.items():
        if failure.its_own and not (folder / "record.json").exists():
            with contextlib.suppress(WriteError):  # the run's own error says more
                write_atomically(folder / FAILED, (failure.error + "\n").encode())
    runs[:] = look([run.job for run in runs], axes, recorded)
    for run in runs:
        if run.folder in failures and run.state == "running":
            print(f"  left alone, another process took it: {run.label} ({run.folder})")
        elif run.folder in failures and run.state != "done":
            run.state, run.fault = "failed", failures[run.folder].error


def _absent(runs: Sequence[SweptRun]) -> dict[str, Failure]:
    """Which data of the runs cannot be opened, and why. UserError where none of it can.

    Each is opened once and before the first run, which makes what is missing of its cache.
    """
    data = {repr(run.config.data): run.config.data for run in runs}
    absent = {}
    with beating():
        for key, one in data.items():
            doing(f"opening the data, {one.name}")
            try:
                open_data(one)
            except UserError as error:
                if len(data) == 1:
                    raise
                absent[key] = Failure(line_of(error), its_own=False)
                last = error
    if len(absent) == len(data):
        raise last
    return absent


def summary(runs: Sequence[SweptRun]) -> str:
    """How many runs are in each state, and the training time left, estimated from those that are done."""
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    parts = [f"{n} {state}" for state, n in counts.items() if n]
    left = time_left(runs)
    done = counts["done"]
    if left:
        parts.append(f"about {duration(left)} of training left, by {counted(done, 'finished run')}")
    return f"{counted(len(runs), 'run')}: " + ", ".join(parts)


def time_left(runs: Sequence[SweptRun]) -> float | None:
    """Seconds of training that are left, over all runs that are neither done nor failed; None when none is done yet.

    A run takes as long as the finished ones of its model and scale (median), else of its scale, else of any, in
    proportion to the budget. Of an interrupted run the part that its last row had reached is taken off.
    """
    done = [run for run in runs if run.state == "done" and run.record is not None]
    if not done:
        return None
    total = 0.0
    for run in runs:
        if run.state in ("done", "failed"):
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


def state_table(runs: Sequence[SweptRun]) -> str:
    """One line a run: its state, its progress, its result and its directory."""
    rows = []
    unit = unit_of(runs[0].config.task) if runs else BITS_PER_BYTE
    for run in runs:
        last = (run.record.final or (run.record.metrics or [{}])[-1]) if run.record else {}
        result = f"{last[unit.key]:.4f}" if run.state == "done" else ""
        tokens = f"{last['tokens']:,}" if last else ""
        rows.append((run.state, run.label, tokens, result, str(run.elsewhere or run.folder)))
    head = ("state", "run", "tokens", unit.words, "folder")
    width = [max(len(row[i]) for row in [head, *rows]) for i in range(4)]
    lines = ([*(cell.ljust(w) for cell, w in zip(row, width, strict=False)), row[4]] for row in [head, *rows])
    return "\n".join("  ".join(line) for line in lines)
