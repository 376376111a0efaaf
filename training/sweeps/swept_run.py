"""One run of a sweep: its config, its directory, how far it is."""

import functools
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import Timeout

from configs.compose import compose, identity
from configs.errors import UserError
from configs.printable import in_one_line
from configs.schema import RunConfig
from configs.sweeps import Job, label_of
from data.file_lock import locked
from data.sources import vocabulary_size
from training.budget import resolve_shape
from training.run_record.record import RunRecord, load_record
from training.run_record.run_directory import FAILED, LOCK, run_directory
from training.sweeps.parameter_memory import ParameterMemory

STATES = ("done", "running", "interrupted", "failed", "missing")
SEED = re.compile("0|[1-9][0-9]{0,8}")  # a seed as it is usually typed; others are composed, and refused if need be


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


def look(jobs: Sequence[Job], axes: Sequence[str], recorded: Mapping[str, Path] | None = None) -> list[SweptRun]:
    """Each run of a sweep with its directory and state. UserError for an impossible config, or for two that are the
    same.

    One that has a record elsewhere (`recorded`: label -> path) is done.
    """
    runs: dict[Path, SweptRun] = {}
    labels: dict[tuple[Path, str], str] = {}  # by folder of runs and identity
    for job, config in configured_jobs(jobs):
        folder = run_directory(config)
        label = label_of(job, axes) or folder.name
        if config.run_dir is not None and folder in runs:
            raise UserError(
                f"{runs[folder].label} and {label} would both be in run_dir={folder}; type runs=FOLDER in its place"
            )
        run = folder if config.run_dir is not None else folder.parent, identity(config)
        if same := runs[folder].label if folder in runs else labels.get(run):
            raise UserError(f"{same} and {label} are one and the same run: leave one out")
        labels[run] = label
        try:
            state, record = state_of(folder)
            without_record = state == "failed" and record is None
            fault = in_one_line((folder / FAILED).read_text(errors="replace").strip()) if without_record else None
            elsewhere = (recorded or {}).get(label) if state != "done" else None
            if elsewhere:
                state, record = "done", load_record(elsewhere)
            runs[folder] = SweptRun(job, label, config, folder, state, record, fault, elsewhere=elsewhere)
        except UserError as error:  # a damaged record is that run's trouble, not the others'
            runs[folder] = SweptRun(job, label, config, folder, "failed", None, str(error), damaged=True)
    return list(runs.values())


def state_of(folder: Path) -> tuple[str, RunRecord | None]:
    """One of STATES, and the record if there is one. A run whose process was killed is interrupted, and one that a
    process has just begun is running before it has a record.
    """
    if not (folder / "record.json").exists():
        without = "failed" if (folder / FAILED).exists() else "missing"
        return "running" if is_held(folder) else without, None
    record = load_record(folder)
    if record.status == "done":
        return "done", record
    if is_held(folder):
        return "running", record
    return "interrupted" if record.status == "running" else record.status, record


def is_held(folder: Path) -> bool:
    """Whether a process has the run directory."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def error_of(run: SweptRun) -> str:
    """Why a run failed, as its record has it, or why it has none."""
    return in_one_line(run.fault or (run.record.error if run.record else None) or "no reason is recorded")


def configured_jobs(jobs: Sequence[Job]) -> list[tuple[Job, RunConfig]]:
    """Each run with its config, its shape resolved. UserError for an impossible config.

    Composing takes a third of a second, so runs that differ in their seed alone, or that several sweeps have, are
    composed once.
    """
    configured = []
    for job in jobs:
        seed = next((text.partition("=")[2] for text in reversed(job.overrides) if text.startswith("seed=")), "0")
        if SEED.fullmatch(seed):
            others = tuple(text for text in job.overrides if not text.startswith("seed="))
            config = replace(deepcopy(_resolved_once(others)), seed=int(seed))
        else:
            config = resolved(job.overrides)
        configured.append((job, config))
    memory().save()
    return configured


@functools.cache
def memory() -> ParameterMemory:
    """That of this process."""
    return ParameterMemory()


@functools.cache
def _resolved_once(overrides: tuple[str, ...]) -> RunConfig:
    return resolved(overrides)


def resolved(overrides: Sequence[str]) -> RunConfig:
    """The config of a run with its shape solved for its vocabulary. UserError for an impossible one."""
    config = compose("train", overrides)
    return resolve_shape(config, vocabulary_size(config.data), memory())
