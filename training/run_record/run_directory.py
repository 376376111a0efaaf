"""The run directory: its name, its lock, and whether a command starts, resumes or has already finished a run."""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from configs.compose import NOT_IN_HASH, NOT_IN_HASH_AT_DEFAULT, ON_ANY_MACHINE, config_hash
from configs.errors import UserError
from configs.schema import RunConfig
from data.atomic_write import WriteError
from training.run_record.record import RunRecord, load_record

TOKENIZER = "tokenizer.json"  # in the run directory, of a run whose tokens are not bytes


def run_directory(config: RunConfig) -> Path:
    """Where a run with this (resolved) config lives; one by older code where its name has the machine in its hash."""
    if config.run_dir is not None:
        return Path(config.run_dir)
    name = f"{config.model.name}-{config.scale.name}-{config.data.name}-seed{config.seed}"
    folder, former = (Path(config.runs) / f"{name}-{config_hash(config, of_machine)}" for of_machine in (False, True))
    return former if (former / "record.json").exists() and not (folder / "record.json").exists() else folder


@contextlib.contextmanager
def claimed(folder: Path, overwrite: bool) -> Iterator[None]:
    """Hold the run directory for this process; with `overwrite` a run that is there is moved aside first.

    Raises UserError when another process holds it, WriteError when it cannot be made.
    """
    lock = _lock(folder)
    try:
        if overwrite and ((folder / "record.json").exists() or any((folder / "checkpoints").iterdir())):
            names = (folder.with_name(f"{folder.name}-old-{n}") for n in itertools.count(1))
            aside = next(path for path in names if not path.exists())
            folder.rename(aside)
            print(f"the run that was in {folder} is now in {aside}", file=sys.stderr)
            lock.release()
            lock = _lock(folder)
        yield
    finally:
        lock.release()


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock")
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is using the run directory {folder}; wait for it or stop it") from None
    except OSError as error:
        raise WriteError(folder, error) from error
    return lock


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
        raise UserError(
            f"the tokenizer {ours.data.tokenizer['name']}, or the library that applies it, has changed since the run "
            f"in {folder} began; restore it from {folder / TOKENIZER} or say overwrite=true"
        )
    return record


def differing_keys(theirs: dict[str, Any], ours: dict[str, Any], most: int = 3) -> str:
    """The first keys that can change a result and differ, as `seed is 1 there and 0 here, ...`; empty if none."""
    theirs, ours = (NOT_IN_HASH_AT_DEFAULT | flat(tree) for tree in (theirs, ours))  # older configs lack newer keys
    differences = [
        f"{key} is {theirs.get(key)} there and {ours.get(key)} here"
        for key in ours | theirs
        if theirs.get(key) != ours.get(key) and not _ignored(key)
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
