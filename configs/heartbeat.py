"""A line on stderr whenever a command has been silent for long: that it is alive, and what it is doing.

Code that begins something that may take minutes says so with `doing`, one assignment. The lines come from a thread, so
they come while a library works too.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Seconds of silence after which a line comes: more than between those of training/progress.py, which say more.
SILENCE = 15.0
TICK = 1.0  # seconds between two looks


@dataclass
class _Now:
    what: str = "starting"
    last_line: float = 0.0  # when, by the monotonic clock
    beating: bool = False
    muted: bool = False  # while a bar is drawn
    held: bool = False  # while what is done is a part of what the outer command has said
    also: Callable[[], None] = lambda: None


_now = _Now()


def doing(what: str) -> None:
    """From now on this is what the process does."""
    if not _now.held:
        _now.what = what


def spoke() -> None:
    """Another line was written just now, which shows that the command is alive."""
    _now.last_line = time.monotonic()


def mute(muted: bool) -> None:
    """While a bar is drawn, it shows that the command is alive."""
    _now.muted = muted
    spoke()


def also(call: Callable[[], None]) -> None:
    """From now on `call` every second, in the thread of the lines."""
    _now.also = call


@contextlib.contextmanager
def beating(wanted: bool = True, lines: bool = True) -> Iterator[None]:
    """Write these lines while inside, and call what `also` was given. Without `lines` only the latter is done, and if
    it is not `wanted` nothing is. Inside another one nothing starts, and without `lines` the lines of that one do
    not say what is done in here.
    """
    if _now.beating or not wanted:
        held = _now.held
        _now.held = held or (wanted and not lines)
        try:
            yield
        finally:
            _now.held = held
        return
    ended = threading.Event()
    _now.what, _now.beating, _now.also = "starting", True, lambda: None
    mute(not lines)
    thread = threading.Thread(target=_beat, args=(ended, time.monotonic()), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _now.beating = False


def _beat(ended: threading.Event, began: float) -> None:
    while not ended.wait(TICK):
        now = time.monotonic()
        with contextlib.suppress(Exception):  # the lines go on
            _now.also()
        if now - _now.last_line >= SILENCE and not _now.muted:
            spoke()
            with contextlib.suppress(OSError, ValueError):  # whoever read it has gone, or stderr is closed
                print(f"{_now.what} · {duration(now - began)} since the start", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
