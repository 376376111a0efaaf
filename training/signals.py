"""Ctrl-C and SIGTERM end a run after the step it is in, with a clean checkpoint."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # who only catches Interrupted needs neither
    import lightning as L
    import torch.distributed as dist

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The run was asked to stop by a signal; `exit_code` is 128 + its number.

    Like KeyboardInterrupt it is not an Exception, so that no error handler catches it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class GracefulStop:
    """Remembers the first SIGINT or SIGTERM; the second ends the process at once.

    While `deferred` the first is only remembered, for `requested` to find at the end of the step; otherwise it raises
    Interrupted at once. As a context manager it restores the former handlers.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.deferred = False
        self._before: dict[int, Any] = {}
        self.group: dist.ProcessGroup | None = None  # of the hosts of a run's processes: no step waits for the devices
        self.relayed = 0.0  # seconds in which a second signal is a launcher's copy of the first one
        self.speaks = True
        self.at_second: Callable[[], None] = lambda: None  # what is done before the second one ends the process
        self._at = 0.0

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {signum: signal.getsignal(signum) for signum in SIGNALS}
            self.install()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def install(self) -> None:
        """Handle the signals, even where another handler was installed since (Lightning does so when it starts to
        fit).
        """
        for signum in self._before:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            if time.monotonic() - self._at < self.relayed:
                return
            try:
                self.at_second()
            finally:
                os._exit(128 + signum)
        self.signum, self._at = signum, time.monotonic()
        if not self.deferred:
            raise Interrupted(signum)
        if not self.speaks:
            return
        name = signal.Signals(signum).name
        print(f"\n{name}: finishing the step and writing a checkpoint; once more to stop at once", file=sys.stderr)

    def check(self) -> None:
        """Raise Interrupted if a signal has come to this process; for long work inside a step."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def requested(self, trainer: "L.Trainer") -> int | None:
        """The signal that any of the processes got, or None. All processes must call this together."""
        if trainer.world_size == 1:
            return self.signum
        import torch
        import torch.distributed as dist

        signum = torch.tensor(self.signum or 0)
        dist.all_reduce(signum, dist.ReduceOp.MAX, group=self.group)
        return int(signum) or None
