"""The state of the runs below a folder: `python -m results.status [FOLDER ...]`, runs where none is typed.

One line a run: running, dead (it says that it runs, and no process does), failed, interrupted, damaged (it cannot be
read) or done. Read from status.json; of runs that have none, as older ones, from record.json. Imports no torch, so
that it answers at once.
"""

import argparse
import contextlib
import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.command import end_with
from configs.counted import counted
from configs.errors import UserError
from configs.heartbeat import duration

STATES = ("running", "dead", "failed", "interrupted", "damaged", "done")
STATUS, RECORD, LOCK = "status.json", "record.json", ".lock"
FAILED = "failed.txt"  # why a run of a sweep failed before it had a record
QUIET = 600.0  # seconds without a heartbeat after which a run is dead whose lock and process cannot be asked
MOST = 1e12  # no number of a run that is shown is larger; a damaged one is left out
LEAST = 22  # characters of the last column: "0:12:34 left, 12 s ago"


class DamagedError(Exception):
    """A file that is not what it should be."""


@dataclass
class State:
    """One run. `done`: share of its steps; `loss`: of its last validation; `told`: time left, last heartbeat, error."""

    run: str
    state: str
    done: float | None = None
    loss: float | None = None
    told: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. UserError for a folder that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m results.status", description="How the runs below a folder are.")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("runs")], help="runs where none is given")
    folders = parser.parse_args(arguments).folders
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder} with runs; type python -m results.status FOLDER")
    states = [state for folder in folders for state in states_below(folder)]
    states.sort(key=lambda state: (STATES.index(state.state), state.run))
    if not states:
        print(f"no runs below {', '.join(map(str, folders))}")
        return
    # What is read by a program, or by less, is whole.
    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    print("\n".join(lines(states, shutil.get_terminal_size().columns if wide else None)))
    counts = {name: sum(state.state == name for state in states) for name in STATES}
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(f"\n{counted(len(states), 'run')}: {parts}")


def states_below(folder: Path) -> Iterator[State]:
    """The state of each run directory below a folder, and of the folder if it is one."""
    refused: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=refused.append):
        if {STATUS, RECORD, FAILED} & set(files):
            folders.clear()  # a run directory holds no others
            path = Path(place)
            yield state_of(path, str(path if path == folder else path.relative_to(folder)))
    for error in refused:
        yield State(str(error.filename), "damaged", told=str(error.strerror))


def state_of(folder: Path, name: str) -> State:
    """The state of the run in `folder`."""
    try:
        with contextlib.suppress(FileNotFoundError, DamagedError):
            status = _read(folder / STATUS)
            if status.get("status") in ("running", "failed", "interrupted", "done"):
                return _by_status(folder, name, status)
        return _by_record(folder, name, _read(folder / RECORD))
    except FileNotFoundError as error:
        if (folder / FAILED).exists():
            with contextlib.suppress(OSError):
                return State(
                    name, "failed", told=_text((folder / FAILED).read_text(encoding="utf-8", errors="replace"))
                )
        return State(name, "damaged", told=f"there is no {Path(error.filename).name}")
    except DamagedError as error:
        return State(name, "damaged", told=_text(str(error)))


def _by_status(folder: Path, name: str, status: dict[str, Any]) -> State:
    state, age = status["status"], _age(status)
    if state == "running" and not _lives(folder, status, age):
        # The disk may have been full when the run ended: the record is what counts.
        with contextlib.suppress(FileNotFoundError, DamagedError):
            ended = _by_record(folder, name, _read(folder / RECORD))
            if ended.state in ("done", "failed", "interrupted"):
                return ended
        state = "dead"
    step, total = _number(status.get("step")), _number(status.get("total_steps"))
    share = step / total if step is not None and total else None
    ago = "?" if age is None else _ago(age)
    left = _number(status.get("seconds_left"))
    told = {
        "running": f"{'?' if left is None or left < 0 else duration(left)} left, {ago}",
        "dead": f"last heartbeat {ago}",
        "done": "",
    }.get(state, _text(status.get("error")))
    return State(name, state, share, _number(status.get("validation")), told)


def _by_record(folder: Path, name: str, record: dict[str, Any]) -> State:
    state = record.get("status")
    if state not in ("running", "failed", "interrupted", "done"):
        raise DamagedError(f"{RECORD} has no status")
    if state == "running" and not _is_held(folder):
        state = "dead"
    rows = record.get("metrics")
    validations = [row for row in (rows if isinstance(rows, list) else []) if _is_validation(row)]
    last = validations[-1] if validations else {}
    loss = _number(last.get("bits_per_byte", last.get("nats")))
    return State(name, state, 1.0 if state == "done" else None, loss, _text(record.get("error")))


def _is_validation(row: Any) -> bool:
    return isinstance(row, dict) and row.get("split") == "validation"


def _read(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError and DamagedError."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"cannot read {path.name}: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path.name} is not a mapping")
    return content


def _age(status: dict[str, Any]) -> float | None:
    """Seconds since the last heartbeat; None where it is not known.

    Of a run on this machine by the clock that is never set back; it restarts with the machine, so the time of day
    is asked too.
    """
    ages = []
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
        ages.append((datetime.now(UTC) - datetime.fromisoformat(status["heartbeat"])).total_seconds())
    with contextlib.suppress(KeyError):
        monotonic = _number(status["monotonic"])
        if monotonic is not None and status.get("host") == platform.node():
            ages.append(time.monotonic() - monotonic)
    return max(0.0, *ages) if ages else None


def _lives(folder: Path, status: dict[str, Any], age: float | None) -> bool:
    """Whether a process is working on the run: by its pid and heartbeat, in doubt by its lock."""
    here, recent = status.get("host") == platform.node(), age is not None and age < QUIET
    alive = here and _exists(status.get("pid"))
    if alive and recent:
        return True  # the lock is not asked: this could be in the way of a run that just begins
    held = _is_held(folder)
    if held or (here and held is not None):
        return bool(held)
    return alive if here else recent  # the lock of another machine may not be seen here


def _exists(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # of another user
    except (OSError, OverflowError):
        return False
    return True


def _is_held(folder: Path) -> bool | None:
    """Whether a process holds the run directory; None where that cannot be asked."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST:
        return float(value)
    return None


def _text(value: Any) -> str:
    """On one line, without what would command a terminal."""
    words = value[:1000].split() if isinstance(value, str) else []
    return "".join(c if c.isprintable() else "?" for c in " ".join(words))


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def lines(states: Sequence[State], width: int | None) -> list[str]:
    """A table of at most so many characters a line; None: as wide as it needs."""
    head = ("state", "%", "loss", "run", "left, heartbeat, error")
    rows = [
        (
            state.state,
            "" if state.done is None else f"{100 * state.done:.0f}",
            "" if state.loss is None else f"{state.loss:.4f}",
            _text(state.run),
            state.told,
        )
        for state in states
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(5)]
    if width is not None:
        before = sum(widths[:3]) + 8
        widths[3] = max(8, min(widths[3], width - before - min(LEAST, widths[4])))
        widths[4] = max(0, width - before - widths[3])
    return [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  "
        f"{_cut(row[3], widths[3], end=True):<{widths[3]}}  {_cut(row[4], widths[4])}".rstrip()
        for row in [head, *rows]
    ]


def _cut(text: str, width: int, end: bool = False) -> str:
    """The beginning of a text that is too long, or its `end`, where the names of runs differ."""
    if len(text) <= width:
        return text
    kept = max(0, width - 3)
    return "..."[:width] + text[len(text) - kept :] if end else text[:kept] + "..."[:width]


if __name__ == "__main__":
    end_with(main)
