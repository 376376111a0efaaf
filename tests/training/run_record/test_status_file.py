"""status.json: what other tools read while a run goes, and that it never stops one."""

import json
from types import SimpleNamespace

import pytest

from training.run_record import status_file
from training.run_record.status_file import StatusFile


@pytest.fixture
def clock(monkeypatch):
    """A clock that each reading moves on by `step` seconds."""
    state = SimpleNamespace(now=500.0, step=0.001)

    def monotonic():
        state.now += state.step
        return state.now

    monkeypatch.setattr(status_file.time, "monotonic", monotonic)
    return state


@pytest.fixture
def status(tmp_path, clock):
    record = SimpleNamespace(status="running", error=None, started="2026-01-01T00:00:00+00:00")
    record.device = SimpleNamespace(count=2)
    return StatusFile(tmp_path, record, 100, 40)


def read(status):
    return json.loads(status.path.read_text(encoding="utf-8"))


def test_it_is_written_every_few_seconds_and_when_something_changes(status, clock):
    for step in range(1, 20_001):  # of a millisecond
        status.tell(step, train=2.5)
    content = read(status)
    assert 3 <= content["beats"] <= 5
    assert (content["status"], content["run"], content["total_steps"], content["processes"]) == (
        "running",
        status.path.parent.name,
        100,
        2,
    )
    assert content["epoch"] == content["step"] / 40 and content["train"] == 2.5
    assert content["heartbeat"].endswith("+00:00") and content["started"] == "2026-01-01T00:00:00+00:00"
    status._record.status, status._record.error = "failed", "a bug"
    status.tell(7, at_once=True)
    after = read(status)
    assert (after["status"], after["error"], after["step"]) == ("failed", "a bug", 7)
    assert after["beats"] == content["beats"] + 1 and after["monotonic"] > content["monotonic"]
    assert [path.name for path in status.path.parent.iterdir()] == ["status.json"]


def test_what_was_told_is_written_again_while_a_step_takes_minutes(status, clock):
    status.again()
    assert not status.path.exists(), "there is nothing to write again"
    status.tell(3, at_once=True, train=2.5)
    clock.now += 50
    status.again()
    assert read(status)["beats"] == 1
    clock.now += 20
    status.again()
    content = read(status)
    assert (content["beats"], content["step"], content["train"]) == (2, 3, 2.5) and content["monotonic"] > 570


def test_a_later_part_of_the_run_counts_on(status, tmp_path):
    status.tell(1, at_once=True)
    status.tell(2, at_once=True)
    again = StatusFile(tmp_path, status._record, 100, None)
    again.tell(2, at_once=True)
    assert (read(again)["beats"], read(again)["epoch"]) == (3, None)
    for damaged in ("", "[" * 100_000, '{"beats": "x"}', "[]"):
        again.path.write_text(damaged)
        assert StatusFile(tmp_path, status._record, 100, None)._beats == 0


def test_a_slow_disk_takes_a_small_share_of_the_time(status, clock):
    clock.step = 0.5  # each write takes half a second by this clock
    for step in range(200):
        status.tell(step)
    assert read(status)["beats"] <= 3


@pytest.mark.parametrize("trouble", ["full", "gone", "number"])
def test_trouble_with_it_stops_nothing(status, monkeypatch, trouble):
    if trouble == "full":

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
    if trouble == "gone":
        status.path = status.path.parent / "gone" / "status.json"
    status.tell(1, at_once=True, train=float("nan") if trouble == "number" else 1.0)
    assert not status.path.exists()
    assert list(status.path.parent.glob("*.tmp")) == []
