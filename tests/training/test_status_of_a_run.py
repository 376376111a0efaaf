"""What a run tells others: its status.json at every end, its name in errors, and a terminal that takes ASCII alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from results.status import state_of
from training.meter import Meter
from training.run import run
from training.run_record.record import load_record
from training.signals import Interrupted

ROOT = Path(__file__).parents[2]


def status_of(folder):
    return json.loads((folder / "status.json").read_text(encoding="utf-8"))


def test_of_a_run_that_is_done(uninterrupted):
    status, record = status_of(uninterrupted()), load_record(uninterrupted())
    assert (status["status"], status["step"], status["total_steps"], status["seconds_left"]) == ("done", 30, 30, 0.0)
    assert (status["validation"], status["tokens"]) == (record.final["bits_per_byte"], record.final["tokens"])
    assert (status["train"], status["epoch"]) == (record.rows("train")[-1]["bits_per_byte"], record.final["epoch"])
    assert (status["started"], status["processes"]) == (record.started, 1)
    assert status["run"] == uninterrupted().name and status["tokens_per_second"] > 0


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (ZeroDivisionError("a bug"), "failed", "ZeroDivisionError: a bug"),
        (Interrupted(signal.SIGTERM), "interrupted", "stopped by SIGTERM"),
    ],
)
def test_of_a_run_that_ends_early_and_goes_on(make_config, tmp_path, monkeypatch, error, state, told):
    def measure_or_raise(self, trainer, module, batch):
        row = measure(self, trainer, module, batch)
        if trainer.global_step == 9:
            during.append(status_of(tmp_path / "run"))
            raise error
        return row

    measure, during = Meter.measure, []
    with monkeypatch.context() as patch:
        patch.setattr(Meter, "measure", measure_or_raise)
        with pytest.raises(type(error)):
            run(make_config())
    assert (during[0]["status"], during[0]["pid"]) == ("running", os.getpid())
    status = status_of(tmp_path / "run")
    assert (status["status"], status["error"], status["step"]) == (state, told, 8)
    shown = state_of(tmp_path / "run", "run")
    assert (shown.state, shown.told) == (state, told)
    if state == "failed":
        assert error.__notes__ == ["run run, rank 0, step 8"]
    run(make_config("trainer.max_steps=30"))
    again = status_of(tmp_path / "run")
    assert (again["status"], again["error"]) == ("done", None) and again["beats"] > status["beats"]


def test_a_status_that_cannot_be_written_changes_nothing(
    make_config, tmp_path, monkeypatch, uninterrupted, same_weights
):
    def replace(source, target):
        if Path(target).name == "status.json":
            raise OSError(30, "Read-only file system")
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr("os.replace", replace)
    run(make_config())
    assert load_record(tmp_path / "run").status == "done" and not (tmp_path / "run" / "status.json").exists()
    same_weights(tmp_path / "run", uninterrupted())


def test_a_command_where_the_system_takes_ascii_alone(overrides, tmp_path):
    """Its first line comes before torch is there; what it prints has stand-ins."""
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    shown = [text for text in overrides if text != "trainer.progress=false"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *shown, "data.split=[0.2,0.7,0.1]", "trainer.max_steps=8"],
        cwd=tmp_path,
        env={**os.environ, **ascii_alone, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.decode("ascii").splitlines()
    assert first == "starting transformer, scale smoke, text, seed 0"
    assert last.startswith("done: ") and " bits/byte +- " in last
    lines = done.stderr.decode("ascii").splitlines()
    assert lines[-1].startswith("run: step 8/8 | validation ") and all(line.startswith("run: step ") for line in lines)
