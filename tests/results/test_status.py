"""The state of every run below a folder, from whatever lies there."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from configs.errors import UserError
from results.status import lines, main, state_of, states_below

ROOT = Path(__file__).parents[2]
NOW, MONOTONIC = datetime(2026, 1, 1, tzinfo=UTC), 50_000.0


class Stopped(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


@pytest.fixture(autouse=True)
def clocks(monkeypatch):
    """Both stand still."""
    monkeypatch.setattr("results.status.datetime", Stopped)
    monkeypatch.setattr("results.status.time", SimpleNamespace(monotonic=lambda: MONOTONIC))


def status(**changed):
    content = {
        "status": "running",
        "error": None,
        "step": 25,
        "total_steps": 100,
        "validation": 2.5,
        "seconds_left": 754.0,
        "heartbeat": NOW.isoformat(timespec="seconds"),
        "monotonic": MONOTONIC,
        "host": platform.node(),
        "pid": os.getpid(),
    }
    return content | changed


@pytest.fixture(scope="module")
def ended_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def made(tmp_path):
    """A run directory with these files: text as it is, else as JSON; a lock that nobody holds."""

    def make(name="a-run", lock=True, **files):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for stem, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"{stem}.json").write_text(text)
        if lock:
            (folder / ".lock").touch()
        return folder

    return make


def test_a_run_that_goes_and_one_whose_process_is_gone(made, ended_pid):
    running = state_of(made("a", status=status()), "a")
    assert (running.state, running.done, running.loss, running.told) == ("running", 0.25, 2.5, "0:12:34 left, 0 s ago")
    dead = state_of(made("b", status=status(pid=ended_pid, monotonic=MONOTONIC - 200)), "b")
    assert (dead.state, dead.told) == ("dead", "last heartbeat 3 min ago")
    held = made("c", status=status(pid=ended_pid))  # of a container: its numbers of processes are others
    with FileLock(held / ".lock"):
        assert state_of(held, "c").state == "running"
    reused = made("d", status=status(monotonic=MONOTONIC - 3600))
    assert state_of(reused, "d").state == "dead"


def test_a_clock_that_jumps_back_confuses_nothing(made, ended_pid):
    later = (NOW + timedelta(hours=5)).isoformat()
    assert state_of(made("a", status=status(heartbeat=later)), "a").told == "0:12:34 left, 0 s ago"
    gone = status(heartbeat=later, pid=ended_pid, monotonic=MONOTONIC - 7300)
    assert state_of(made("b", status=gone), "b").told == "last heartbeat 2 h ago"


def test_a_run_of_another_machine_goes_by_its_heartbeat(made):
    assert state_of(made("a", status=status(host="elsewhere", monotonic=1e9)), "a").state == "running"
    old = (NOW - timedelta(days=2)).isoformat()
    state = state_of(made("b", status=status(host="elsewhere", heartbeat=old)), "b")
    assert (state.state, state.told) == ("dead", "last heartbeat 2 d ago")


def test_how_runs_ended(made, ended_pid):
    failed = state_of(made("a", status=status(status="failed", error="a\x1b[31m bug\nhere")), "a")
    assert (failed.state, failed.told) == ("failed", "a?[31m bug here")
    assert (
        state_of(made("b", status=status(status="interrupted", error="stopped by SIGTERM")), "b").state == "interrupted"
    )
    assert state_of(made("c", status=status(status="done", step=100)), "c").done == 1
    full_disk = made("d", status=status(pid=ended_pid), record={"status": "failed", "error": "No space left"})
    assert (state_of(full_disk, "d").state, state_of(full_disk, "d").told) == ("failed", "No space left")


def test_older_runs_are_told_from_their_record(made):
    rows = [
        {"split": "validation", "bits_per_byte": 3.0},
        {"split": "validation", "bits_per_byte": 2.0},
        {"split": "train"},
    ]
    done = state_of(made("a", record={"status": "done", "metrics": rows}), "a")
    assert (done.state, done.done, done.loss) == ("done", 1.0, 2.0)
    folder = made("b", record={"status": "running", "metrics": []})
    assert state_of(folder, "b").state == "dead"
    with FileLock(folder / ".lock"):
        assert state_of(folder, "b").state == "running"
    before = made("c")
    (before / "failed.txt").write_text("there is no data\n")
    assert (state_of(before, "c").state, state_of(before, "c").told) == ("failed", "there is no data")


DAMAGED = [
    "",
    "{",
    "[" * 100_000,
    "[]",
    "null",
    '{"status": 3}',
    '{"status": ["done"]}',
    "\x00",
    "\udcff".encode("utf-8", "replace").decode(),
]


@pytest.mark.parametrize("text", DAMAGED)
def test_what_is_damaged_is_a_line(made, text):
    state = state_of(made("a", record=text), "a")
    assert state.state == "damaged" and state.told and "\n" not in state.told
    assert state_of(made("b", status=text, record={"status": "done"}), "b").state == "done"
    assert state_of(made("c", status=text), "c").state == "damaged"


@pytest.mark.parametrize("key", status())
def test_a_key_that_lacks_is_no_traceback(made, key):
    content = {name: value for name, value in status().items() if name != key}
    state = state_of(made("a", status=content, record={"status": "running"}), "a")
    expected = "running" if key in ("heartbeat", "error", "step", "total_steps", "validation", "seconds_left") else None
    assert state.state in ([expected] if expected else ["running", "dead"])


def test_numbers_that_no_run_has_are_not_shown(made):
    huge = status(validation=1e308, seconds_left=1e300, step=1e308, total_steps=1e-320, monotonic=-1e308)
    state = state_of(made("a", status=huge), "a")
    assert (state.done, state.loss, state.told) == (None, None, "? left, 0 s ago")
    assert state_of(made("b", status=status(seconds_left=-5)), "b").told == "? left, 0 s ago"
    assert all(len(line) < 80 for line in lines([state], None))


@pytest.mark.parametrize("value", ["x", [], {}, True, None, -1, 10**400, 1e999, float("nan")])
def test_values_of_another_kind_are_left_out(made, value):
    content = status() | dict.fromkeys(
        ("step", "total_steps", "validation", "seconds_left", "heartbeat", "monotonic"), value
    )
    for number, host in enumerate((platform.node(), "elsewhere", value)):
        folder = made(f"run-{number}", status=content | {"host": host, "pid": value, "error": value})
        state = state_of(folder, "run")
        assert state.state in ("running", "dead")
        lines([state], 80)


def test_one_line_a_run_sorted_at_any_width(made, tmp_path, capsys, monkeypatch, ended_pid):
    made("sweep/fsn-250k-stdlib-seed0-0123456789", status=status(status="done", step=100))
    made("sweep/osn-250k-stdlib-seed0-0123456789", status=status(pid=ended_pid))
    made("a-name-that-is-longer-than-others/" + "x" * 60 + "-end", status=status(status="failed", error="y" * 90))
    made("b", status=status())
    for width in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        main([str(tmp_path)])
        head, *rows, blank, count = capsys.readouterr().out.splitlines()
        assert [row.split()[0] for row in rows] == ["running", "dead", "failed", "done"]
        assert (blank, count) == ("", "4 runs: 1 running, 1 dead, 1 failed, 1 done")
        assert max(map(len, [head, *rows])) <= width + (width == 40) * 8
        if width >= 80:
            assert "0:12:34 left, 0 s ago" in rows[0] and "-end" in rows[2] and "seed0-0123456789" in rows[3]
    monkeypatch.delenv("COLUMNS")
    main([str(tmp_path)])
    assert "x" * 60 + "-end  " + "y" * 90 in capsys.readouterr().out, "in a pipe nothing is cut"


def test_a_folder_without_runs_and_one_that_is_not_there(tmp_path, capsys):
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"no runs below {tmp_path}\n"
    with pytest.raises(UserError, match=r"there is no folder .*nowhere with runs; type"):
        main([str(tmp_path / "nowhere")])


def test_it_reads_a_hundred_runs_without_what_takes_seconds_to_load(made, tmp_path):
    for number in range(100):
        made(f"run-{number}", status=status())
    assert len(list(states_below(tmp_path))) == 100
    code = (
        "import sys; from results.status import main; main(sys.argv[1:])\n"
        "assert not {'torch', 'lightning', 'hydra', 'numpy', 'pydantic', 'rich'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "100 runs: " in done.stdout
