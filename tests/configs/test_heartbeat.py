"""The line of a command that has been silent for long, by a clock of the test's own."""

import pytest

from configs import heartbeat


@pytest.fixture
def beat(monkeypatch, capsys):
    """Let the thread's function look once a second for so many seconds; the lines that come."""
    clock = [1000.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(heartbeat, "SILENCE", 15.0)
    monkeypatch.setattr(heartbeat, "_now", heartbeat._Now())
    heartbeat.mute(False)

    class Clock:
        def __init__(self, until):
            self.until = until

        def wait(self, seconds):
            clock[0] += seconds
            return clock[0] > self.until

    def call(seconds):
        heartbeat._beat(Clock(clock[0] + seconds), 1000.0)
        return capsys.readouterr().err.splitlines()

    return call


def test_silence_is_broken_by_what_is_being_done(beat):
    heartbeat.doing("hashing x")
    assert beat(14) == []
    assert beat(17) == ["hashing x · 0:00:16 since the start", "hashing x · 0:00:31 since the start"]
    heartbeat.spoke()
    assert beat(14) == []


def test_a_bar_says_enough(beat):
    heartbeat.mute(True)
    assert beat(60) == []
    heartbeat.mute(False)
    assert len(beat(16)) == 1


def test_what_is_to_be_kept_alive_too_is_called_every_second(beat):
    calls = []
    heartbeat.also(lambda: calls.append(1))
    beat(20)
    assert len(calls) == 20


def test_the_thread_lives_as_long_as_the_command(monkeypatch, capsys):
    monkeypatch.setattr(heartbeat, "SILENCE", 0.0)
    monkeypatch.setattr(heartbeat, "TICK", 0.001)
    alive = lambda: any(thread.name == "heartbeat" for thread in heartbeat.threading.enumerate())  # noqa: E731
    with heartbeat.beating(False):
        assert not alive()
    with heartbeat.beating():
        with heartbeat.beating():
            heartbeat.doing("hashing x")
        assert alive()
        said = ""
        while "hashing x" not in said:  # the suite's limit of time ends it where no line comes
            said += capsys.readouterr().err
    assert not alive()


def test_without_lines_what_is_called_beside_them_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(heartbeat, "SILENCE", 0.0)
    monkeypatch.setattr(heartbeat, "TICK", 0.001)
    called = heartbeat.threading.Event()
    with heartbeat.beating(lines=False):
        heartbeat.also(called.set)
        assert called.wait(10)
    assert capsys.readouterr().err == ""


def test_a_part_without_lines_leaves_those_of_the_whole(monkeypatch):
    monkeypatch.setattr(heartbeat, "_beat", lambda *_: None)
    with heartbeat.beating():
        heartbeat.doing("1 of 9 rounds")
        with heartbeat.beating(lines=False):
            heartbeat.doing("building the model")
            assert heartbeat._now.what == "1 of 9 rounds"
        with heartbeat.beating():
            heartbeat.doing("writing the table")
            assert heartbeat._now.what == "writing the table"
