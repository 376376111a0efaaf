"""`python train.py ...` as a user types it: killed, interrupted, resumed, done; and on two processes."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.run import run
from training.run_record.record import load_record

ROOT = Path(__file__).parents[2]


def start(overrides, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *overrides],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_same_command_goes_on_where_it_was_stopped(overrides, make_config, tmp_path, uninterrupted, same_weights):
    long = ("trainer.max_steps=120", "trainer.checkpoint_every=3")
    folder, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"

    process = start([*overrides, *long], tmp_path)
    wait_for(last.exists)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 143, err
    assert "resuming" not in out and "finishing the step" in err
    assert load_record(folder).status == "interrupted"

    process = start([*overrides, *long], tmp_path)
    before = last.stat().st_mtime_ns
    wait_for(lambda: last.stat().st_mtime_ns != before)
    process.kill()
    out, err = process.communicate()
    assert "resuming from step" in out
    assert load_record(folder).status == "running"
    assert load_record(folder).command.startswith("python train.py model=transformer scale=smoke")
    assert str(tmp_path) not in (folder / "record.json").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, "nothing but the run directory is written"

    run(make_config(*long))  # from Python it is the same run
    same_weights(folder, uninterrupted(*long))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_as_one_does(strategy, overrides, tmp_path, uninterrupted, weights):
    process = start([*overrides, "trainer.devices=2", f"trainer.strategy={strategy}", "trainer.max_steps=24"], tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.count("done:") == 1
    record, alone = load_record(tmp_path / "run"), load_record(uninterrupted("trainer.max_steps=24"))
    assert record.device.count == 2
    assert len(record.metrics) == len(alone.metrics)
    for ours, theirs in zip(record.metrics, alone.metrics, strict=True):
        assert (ours["step"], ours["tokens"], ours["split"]) == (theirs["step"], theirs["tokens"], theirs["split"])
        assert ours["nats"] == pytest.approx(theirs["nats"], abs=1e-5)
    single = weights(uninterrupted("trainer.max_steps=24"))
    for name, value in weights(tmp_path / "run").items():
        assert torch.allclose(value, single[name], atol=2e-3), name


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the second process in /proc")
def test_a_signal_to_the_second_process_ends_both(overrides, tmp_path):
    long = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.max_steps=20000", "trainer.checkpoint_every=3")
    process = start([*overrides, *long], tmp_path)
    wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (second,) = (c for c in children if b"processes.child" in Path(f"/proc/{c}/cmdline").read_bytes())
    os.kill(int(second), signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    record = load_record(tmp_path / "run")
    assert record.status == "interrupted" and "SIGTERM" in record.error


@pytest.fixture
def train(monkeypatch, overrides):
    """train.py's command in this process; returns its exit code."""
    specification = importlib.util.spec_from_file_location("train_command", ROOT / "train.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def call():
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *overrides])
        with pytest.raises(SystemExit) as stopped:
            module.main()
        return stopped.value.code

    return call


def test_a_mistake_is_one_line_and_exit_code_2(train, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text("{}")
    assert train() == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "record.json" in said


def test_a_failure_of_ours_is_a_traceback_and_exit_code_1(train, monkeypatch, capsys):
    def fail(config):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("training.run.run", fail)
    assert train() == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err
