"""Commands as processes that end when a time is over or a signal comes, cleanly as after Ctrl-C."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from training.signals import SIGNALS

SHARE, MOST = 0.1, 60.0  # of the time, and seconds at most, that are kept for a process to write its checkpoint
LOOK = 1.0  # seconds between two looks at a process


class WithinTime:
    """Runs commands, one at a time, for `seconds` in all; None: as long as they take. As a context manager it hands
    SIGINT and SIGTERM on to the command that is under way, and starts no other after one.
    """

    def __init__(self, seconds: float | None) -> None:
        self.began = time.monotonic()
        self.signum: int | None = None  # the first signal that came
        self._end = None if seconds is None else self.began + seconds
        self._kept = 0.0 if seconds is None else min(MOST, SHARE * seconds)
        self._child: subprocess.Popen[bytes] | None = None
        self._told = False  # that it is to stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "WithinTime":
        self._before = {signum: signal.signal(signum, self._hand_on) for signum in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds in which commands may run; None: without end."""
        return None if self._end is None else max(0.0, self._end - self._kept - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether nothing is to be started any more."""
        return self.signum is not None or self.left == 0.0

    def run(self, command: Sequence[str], enough: Callable[[], bool] = lambda: False) -> int | None:
        """The exit code of a command; None where it was stopped: the time is over, a signal came, or it is `enough`."""
        if self.over:
            return None
        # A session of its own: Ctrl-C at a terminal reaches it once, through us, and what it starts goes with it.
        self._told = False
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            while not self.over and not enough():
                with suppress(subprocess.TimeoutExpired):
                    return self._code(self._child.wait(LOOK))
            if not self._told:
                self._tell(signal.SIGTERM)
            # Without a limit, or after a signal, it takes what it needs: a second signal ends a run at once.
            limited = self._end is not None and self.signum is None
            with suppress(subprocess.TimeoutExpired):
                return self._code(self._child.wait(max(self._kept, 1.0) if limited else None))
            return None
        finally:
            self._tell(signal.SIGKILL)  # also what it started and left behind
            self._child.wait()
            self._child = None

    def _code(self, code: int) -> int | None:
        """None for the end that SIGINT and SIGTERM make."""
        return None if code in {ended for signum in SIGNALS for ended in (128 + signum, -signum)} else code

    def _hand_on(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        self._tell(signal.SIGTERM)

    def _tell(self, signum: int) -> None:
        if self._child is not None:
            self._told = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signum)
