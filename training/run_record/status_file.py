"""status.json of a run directory: how far the run is, for other tools to read while it goes.

It says nothing that record.json does not say at the end, and nothing resumes from it. So it may be lost: a disk that is
full or slow neither stops a run nor holds it up. It is whole whenever it is read. `python -m results.status` reads it.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.run_record.record import RunRecord

NAME = "status.json"
EVERY = 5.0  # seconds between two writes, at least
SILENCE = 60.0  # seconds without news after which the last ones are written again: the run is alive
SHARE = 0.01  # of the time is the most that writing may take, where the disk is slow


class StatusFile:
    """Writes the status of the run in `folder`. `record`: whence its state, error and start are taken.

    Keys: status, error, run (name of the folder), step, total_steps, epoch (null where the data has no end), tokens,
    unit, train and validation (last losses in that unit), tokens_per_second, seconds_left, started, heartbeat (both ISO
    8601, UTC), beats (times it was written, over all parts of the run), monotonic (the host's clock that is never set
    back, seconds), host, pid, processes. What is not known yet is null.
    """

    def __init__(self, folder: Path, record: RunRecord, total_steps: int, steps_per_epoch: int | None) -> None:
        self.path = folder / NAME
        self._record = record
        self._steps_per_epoch = steps_per_epoch
        self._run = {
            "run": folder.resolve().name,
            "total_steps": total_steps,
            "host": platform.node(),
            "pid": os.getpid(),
            "processes": record.device.count,
        }
        self._due = self._written = 0.0  # by the monotonic clock
        self._last: tuple[int, dict[str, Any]] | None = None
        self._writing = threading.Lock()
        self._beats = _beats(self.path)

    def tell(self, step: int, at_once: bool = False, **state: Any) -> None:
        """How far the run is; written if the last time was long enough ago, or `at_once`."""
        self._last = step, state
        if time.monotonic() >= self._due or at_once:
            self._write(step, state)

    def again(self) -> None:
        """Write what was told last once more, if that was long ago: for a thread, while a step takes minutes."""
        with self._writing:
            if self._last is not None and time.monotonic() - self._written >= SILENCE:
                self._replace(*self._last)

    def _write(self, step: int, state: dict[str, Any]) -> None:
        with self._writing:
            self._replace(step, state)

    def _replace(self, step: int, state: dict[str, Any]) -> None:
        began = time.monotonic()
        self._beats += 1
        epoch = None if self._steps_per_epoch is None else step / self._steps_per_epoch
        content = {
            "status": self._record.status,
            "error": self._record.error,
            **self._run,
            "step": step,
            "epoch": epoch,
            **state,
            "started": self._record.started,
            "heartbeat": datetime.now(UTC).isoformat(timespec="seconds"),
            "beats": self._beats,
            "monotonic": began,
        }
        # Not forced to the disk, which would cost more than all else: after a power cut it may be lost.
        temporary = self.path.with_name(f"{uuid.uuid4().hex}.tmp")
        with contextlib.suppress(OSError, ValueError):
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            os.replace(temporary, self.path)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        now = time.monotonic()
        self._written = now
        self._due = now + max(EVERY, (now - began) / SHARE)


def _beats(path: Path) -> int:
    """How often the status was written before."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["beats"]
        return before if isinstance(before, int) else 0
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return 0
