"""A command under a limit of time: it ends as after Ctrl-C, with what it started, and signals are handed on."""

import os
import signal
import threading
import time as clock

import pytest

from results.gpu import within_time
from results.gpu.within_time import WithinTime

# Says that it is ready, and writes something when it is told to end.
SAVES = "trap 'sleep 0.2; touch {saved}; exit 143' TERM; touch {ready}; while :; do sleep 0.02; done"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(within_time, "LOOK", 0.02)


@pytest.fixture
def saves(tmp_path):
    """The command, and the files that it writes."""
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    return ["sh", "-c", SAVES.format(ready=ready, saved=saved)], ready, saved


def test_the_exit_code_of_what_ends_by_itself():
    with WithinTime(None) as time:
        assert [time.run(["sh", "-c", f"exit {code}"]) for code in (0, 3)] == [0, 3]
        assert time.left is None and not time.over


def test_what_is_enough_is_ended_cleanly_and_others_may_follow(saves):
    command, ready, saved = saves
    with WithinTime(None) as time:
        assert time.run(command, ready.exists) is None
        assert saved.exists() and not time.over
        assert time.run(["true"]) == 0


def test_nothing_outlives_the_time_not_even_what_a_command_started(tmp_path):
    """Here both ignore the first request."""
    pids = tmp_path / "pids"
    deaf = f"trap '' TERM; (while :; do sleep 0.02; done) & echo $! $$ > {pids}; while :; do sleep 0.02; done"

    def expire():  # once it is there, whatever the load of the machine
        if pids.exists() and pids.read_text().endswith("\n"):
            time._end = clock.monotonic()
        return False

    with WithinTime(1000) as time:
        time._kept = 0.0
        assert time.run(["sh", "-c", deaf], expire) is None
        assert time.over and time.left == 0
        assert time.run(["touch", str(tmp_path / "late")]) is None
    assert not (tmp_path / "late").exists()
    for pid in map(int, pids.read_text().split()):
        while _lives(pid):  # an orphan is reaped by another process
            clock.sleep(0.01)


def test_a_signal_reaches_the_command_and_no_other_is_started(saves):
    command, ready, saved = saves
    before = signal.getsignal(signal.SIGTERM)

    def send():
        while not ready.exists():
            clock.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    with WithinTime(None) as time:
        assert time.run(command) is None
        assert saved.exists() and time.signum == signal.SIGTERM
        assert time.run(["true"]) is None
    assert signal.getsignal(signal.SIGTERM) is before


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
