"""The run directory: its name, its lock, and whether a command starts, resumes or has already finished a run."""

import contextlib
import fnmatch
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, Timeout

from configs.compose import NOT_IN_HASH, NOT_IN_HASH_AT_DEFAULT, ON_ANY_MACHINE, hashes_of_run
from configs.errors import UserError
from configs.schema import RunConfig
from data.atomic_write import TEMPORARY, write_errors
from data.file_lock import acquired, marker
from data.files import user_path
from data.tokenizers import TRAINED
from training.run_record.metrics_file import read_rows
from training.run_record.record import NO_CHECKPOINT, RunRecord, load_record

TOKENIZER = "tokenizer.json"  # in the run directory, of a run whose tokens are not bytes
LOCK = ".lock"  # in every run directory
FAILED = "failed.txt"  # of a run of a sweep that failed before it had a record, why
# All that a run writes. A folder without a readable record is ours if it holds no other names, and LOCK or FAILED.
NAMES = (
    *(LOCK, marker(Path(LOCK)).name, FAILED, "record.json", "config.yaml", "metrics.jsonl", "status.json"),
    *(TOKENIZER, "wandb", TEMPORARY),
)
NAMES_OF_CHECKPOINTS = ("last.ckpt", "previous.ckpt", "epoch-*.ckpt", "*.ckpt.damaged-*", "*.tmp")


class Taken(UserError):
    """Another process holds the run directory; the state of the run is not known."""

    its_own = False


def run_directory(config: RunConfig) -> Path:
    """Where a run with this (resolved) config lives: under its hash, if it does not under another that it may have."""
    if config.run_dir is not None:
        return user_path(config.run_dir, "run_dir")
    runs = user_path(config.runs, "runs")
    name = f"{config.model.name}-{config.scale.name}-{config.data.name}-seed{config.seed}"
    folders = [runs / f"{name}-{of_run}" for of_run in hashes_of_run(config)]
    return next((folder for folder in folders if (folder / "record.json").exists()), folders[0])


@contextlib.contextmanager
def claimed(folder: Path, overwrite: bool) -> Iterator[None]:
    """Hold the run directory for this process; with `overwrite` a run that is there is moved aside first.

    Raises Taken when another process holds it, UserError when it is no run directory, WriteError when it cannot be
    made.
    """
    require_ours(folder)
    lock = _lock(folder)
    try:
        left = [folder / "record.json", folder / "metrics.jsonl", *(folder / "checkpoints").iterdir()]
        if overwrite and any(path.exists() for path in left):
            names = (folder.with_name(f"{folder.name}-old-{n}") for n in itertools.count(1))
            aside = next(path for path in names if not path.exists())
            with write_errors(aside):  # of a folder in the image of a container, overlayfs refuses it
                folder.rename(aside)
                marker(aside / LOCK).unlink(missing_ok=True)
            print(f"the run that was in {folder} is now in {aside}", file=sys.stderr)
            lock.release()
            lock = _lock(folder)
        yield
    finally:
        lock.release()


def require_ours(folder: Path) -> None:
    """UserError for something that is not a run directory: nothing in it may be renamed, removed or written over."""
    instead = "choose another run_dir or an empty folder"
    try:
        if not folder.is_dir():
            if folder.exists() or folder.is_symlink():
                raise UserError(f"{folder} is no folder, and a run needs one: {instead}")
            return
        names = {path.name for path in folder.iterdir()}
        inside = [path.name for path in (folder / "checkpoints").iterdir()] if "checkpoints" in names else []
    except OSError as error:
        raise UserError(f"cannot read the run directory {folder}: {error.strerror}; {instead}") from None
    if not inside and names <= {"checkpoints"}:
        return
    left = {name for name in names - {"checkpoints"} if not any(fnmatch.fnmatch(name, own) for own in NAMES)}
    left |= {name for name in inside if not any(fnmatch.fnmatch(name, own) for own in NAMES_OF_CHECKPOINTS)}
    only_ours = not left and not names.isdisjoint((LOCK, FAILED))
    if "record.json" in names:
        try:
            load_record(folder)
        except UserError as error:
            if not only_ours:
                raise UserError(f"{error}: {folder} holds no run that can be read; {instead}") from None
    elif not only_ours:
        raise UserError(f"{folder} is not empty and holds no run of this project: {instead}")


def _lock(folder: Path) -> BaseFileLock:
    with write_errors(folder):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    try:
        # A sweep that looks whether a process has the directory holds it for a moment.
        return acquired(folder / LOCK, timeout=1)
    except Timeout:
        left = marker(folder / LOCK)
        stale = f"; if there is none, delete {left}" if left.exists() else ""
        raise Taken(f"another process is using the run directory {folder}; wait for it or stop it{stale}") from None


def earlier_run(folder: Path, ours: RunRecord, data_place: str) -> RunRecord | None:
    """The record of the run that was begun here, or None.

    Raises UserError when that run has another config than `ours`, or was begun on other data.
    """
    if not (folder / "record.json").exists():
        return None
    record = load_record(folder)
    if different := differing_keys(record.config, ours.config):
        raise UserError(
            f"{folder} holds a run of another config: {different}; choose another run_dir or say overwrite=true"
        )
    then, now = record.data.sha256, ours.data.sha256
    if then != now:
        raise UserError(
            f"the data {record.data.name} ({data_place}) has changed since the run in {folder} began:"
            f" its SHA-256 was {then[:12]}... and is {now[:12]}...; restore it or say overwrite=true"
        )
    hashes = [[run.data.tokenizer.get(key) for key in ("sha256", "tokens_sha256")] for run in (record, ours)]
    if hashes[0] != hashes[1]:
        name, commit = ours.data.tokenizer["name"], (record.git.commit or "unknown")[:7]
        restore = f"restore it from {folder / TOKENIZER}, "
        raise UserError(
            f"the tokenizer {name}, or the library that applies it, has changed since the run in {folder} began; "
            f"{'' if name in TRAINED else restore}install the release of tokenizers in constraints.txt of its commit, "
            f"{commit}, or say overwrite=true"
        )
    return record


def require_nothing_lost(folder: Path, earlier: RunRecord | None, every: int) -> None:
    """UserError where a run without a whole checkpoint has had one: it must not start over by itself.

    It has had one when a file was set aside, when it was interrupted while training and its error does not say
    otherwise, or when its rows go beyond the first step that one was due at; `every`: as checkpoint_every is now.
    """
    aside = sorted(path.name for path in (folder / "checkpoints").glob("*.ckpt.damaged-*"))
    rows = [*read_rows(folder / "metrics.jsonl"), *(earlier.metrics if earlier else [])]
    step = max((row["step"] for row in rows), default=0)
    stopped = False
    if earlier is not None:
        every = earlier.config.get("trainer", {}).get("checkpoint_every", every)
        interrupted = earlier.status == "interrupted" and earlier.throughput.seconds > 0
        stopped = interrupted and not (earlier.error or "").endswith(NO_CHECKPOINT)
    if aside or stopped or step > every:
        # What was set aside is damaged: as it is, it would be set aside again.
        back = "put its last.ckpt back"
        if aside:
            back = f"put a whole copy of one that was set aside ({', '.join(aside)}) back as last.ckpt"
        raise UserError(
            f"the run in {folder} was at step {step:,} and none of its checkpoints is there and whole: {back}, "
            "or say overwrite=true to start over; what is there is kept beside it"
        )


def differing_keys(theirs: dict[str, Any], ours: dict[str, Any], most: int = 3) -> str:
    """The first keys that can change a result and differ, as `seed is 1 there and 0 here, ...`; empty if none."""
    theirs, ours = (NOT_IN_HASH_AT_DEFAULT | flat(tree) for tree in (theirs, ours))  # older configs lack newer keys
    steps = [tree.get("trainer.max_steps") for tree in (theirs, ours)]
    epochs_end_them = steps[0] != steps[1] or steps[0] is None
    differences = [
        f"{key} is {theirs.get(key)} there and {ours.get(key)} here"
        for key in ours | theirs
        if theirs.get(key) != ours.get(key) and not _ignored(key) and (key != "trainer.max_epochs" or epochs_end_them)
    ]
    return ", ".join(differences[:most]) + (f" and {len(differences) - most} more" if len(differences) > most else "")


def _ignored(key: str) -> bool:
    of_no_effect = (*NOT_IN_HASH, *ON_ANY_MACHINE)
    return key.startswith("model.tuned.") or any(key == name or key.startswith(name + ".") for name in of_no_effect)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by its dotted keys, as they are typed: {"model.width": 80, ...}."""
    by_key = {}
    for key, value in tree.items():
        by_key.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return by_key
