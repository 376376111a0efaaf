"""Runs of a sweep as processes: on two devices, side by side, stopped, killed, and orphaned."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.compose import compose
from configs.errors import UserError
from configs.frozen import FLAG
from configs.sweeps import requested
from training.processes.watch import RankDied
from training.run import run
from training.run_record.record import load_record
from training.sweeps import own_process
from training.sweeps.own_process import Failure, OwnProcesses, ended_by, failure_of, train_frozen
from training.sweeps.sweep import conduct

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(900)  # many processes, on a machine that may be busy
DEVICES = ("trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=2")


@pytest.fixture
def typed(tmp_path, overrides):
    """The command line of the tiny run, in a folder of runs."""
    return [text for text in overrides if not text.startswith("run_dir=")] + [f"runs={tmp_path / 'runs'}"]


@pytest.fixture
def start(tmp_path):
    """`start(*arguments)`: `python train.py` with them; what it prints goes to files, also after its end."""
    started = []

    def call(*arguments):
        out, err = (tmp_path / f"{name}{len(started)}.txt" for name in ("out", "err"))
        with open(out, "w") as to, open(err, "w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "train.py"), *arguments],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=to,
                stderr=errors,
            )
        started.append(process)
        return process, out, err

    yield call
    for process in started:
        process.kill()
        process.wait()


def records(folder):
    return {record.seed: record for record in map(load_record, folder.glob("transformer*"))}


def folder_of(runs, seed):
    return next(runs.glob(f"*seed{seed}*"), runs / "none")


def wait_for(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_on_two_devices_are_their_own_whatever_the_command_is(typed, start, tmp_path, weights, same_weights):
    """From the command of another program, as that of a table is, and two side by side in -m."""
    six = [*typed, "trainer.max_steps=6"]
    here = [*six, *DEVICES, "seed=1", f"runs={tmp_path / 'here'}"]
    assert conduct(requested(["-m", *here])) == 0
    process, _, err = start("-m", *six, *DEVICES, "seed=0,1", "launcher=joblib", "hydra.launcher.n_jobs=2")
    assert process.wait() == 0, err.read_text()
    run(compose("train", [*six, f"runs={tmp_path / 'one'}"]))
    run(compose("train", [*six, "seed=1", f"runs={tmp_path / 'one'}"]))

    one, two = records(tmp_path / "one"), records(tmp_path / "runs")
    for seed in (0, 1):
        assert two[seed].device.count == 2 and two[seed].command.startswith("python train.py -m model=transformer")
        assert len(two[seed].metrics) == len(one[seed].metrics)
        for ours, theirs in zip(two[seed].metrics, one[seed].metrics, strict=True):
            assert ours["nats"] == pytest.approx(theirs["nats"], abs=1e-5)
    assert abs(one[0].final["nats"] - one[1].final["nats"]) > 1e-3, "batches of another run would be seen"
    same_weights(folder_of(tmp_path / "here", 1), folder_of(tmp_path / "runs", 1))


def runs_of(conductor):
    """The processes of runs that a conductor has started and that are not over."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_bytes().split(b"\0")
            if FLAG.encode() in command and f"\nPPid:\t{conductor.pid}\n" in status.read_text():
                found.add(int(status.parent.name))
        except OSError:
            continue
    return found


def holder(folder, among):
    """Which of these processes has the lock of a run directory, if one has; without trying it, which would disturb."""
    lock = str((folder / ".lock").resolve())
    for pid in among:
        try:
            if lock in map(os.path.realpath, Path(f"/proc/{pid}/fd").iterdir()):
                return pid
        except OSError:
            continue
    return None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the processes in /proc")
def test_a_sweep_that_is_stopped_and_killed_loses_nothing(
    typed, start, tmp_path, same_weights, capsys, in_this_process
):
    runs, steps = tmp_path / "runs", ["trainer.max_steps=60", "trainer.checkpoint_every=2"]
    command = ["-m", *typed, *steps, "seed=0,1,2", "launcher=joblib", "hydra.launcher.n_jobs=2"]

    def begun(seed):
        return (folder_of(runs, seed) / "checkpoints" / "last.ckpt").exists()

    process, _, _ = start(*command)
    wait_for(lambda: begun(0) and begun(1))
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert {seed: record.status for seed, record in records(runs).items()} == {0: "interrupted", 1: "interrupted"}

    # Run 1 is held up; run 0 is killed, which makes room for run 2; then the conductor is, and 1 and 2 are orphans.
    process, _, _ = start(*command)
    found: dict[int, int] = {}

    def held_up(*seeds):
        """Each as soon as it is seen: on a busy machine one may be done before the other has begun."""
        for seed in set(seeds) - found.keys():
            if one := holder(folder_of(runs, seed), runs_of(process)):
                os.kill(one, signal.SIGSTOP)
                found[seed] = one
        return found.keys() >= set(seeds)

    wait_for(lambda: held_up(0, 1))
    os.kill(found[0], signal.SIGKILL)
    wait_for(lambda: held_up(2))
    second, third = found[1], found[2]
    process.kill()
    process.wait()

    in_one_process = ["-m", *typed, *steps, "seed=0,1,2"]
    assert conduct(requested(in_one_process)) == 0
    said = capsys.readouterr().out
    assert said.count("left alone, another process has it: ") == 2 and "1 done, 2 running" in said
    for orphan in (second, third):
        os.kill(orphan, signal.SIGCONT)
    wait_for(lambda: all(holder(folder_of(runs, seed), (second, third)) is None for seed in (1, 2)))

    assert conduct(requested(in_one_process)) == 0
    said = capsys.readouterr().out
    assert said.count("done before: ") == 3 and "model  " not in said
    assert len(list(runs.glob("transformer*"))) == 3
    for seed, record in records(runs).items():
        run(compose("train", [*typed, *steps, f"seed={seed}", f"run_dir={tmp_path / f'whole{seed}'}"]))
        same_weights(folder_of(runs, seed), tmp_path / f"whole{seed}")
        whole = load_record(tmp_path / f"whole{seed}")
        assert [row["step"] for row in record.metrics] == [row["step"] for row in whole.metrics]
        assert [row["nats"] for row in record.metrics] == [row["nats"] for row in whole.metrics]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the processes in /proc")
def test_a_run_that_is_killed_is_named_and_made_after_a_restart(typed, start, tmp_path):
    command = ["-m", *typed, "trainer.max_steps=40", "trainer.checkpoint_every=2", "seed=0,1"]
    process, _, err = start(*command)
    wait_for(lambda: runs_of(process))
    os.kill(runs_of(process).pop(), signal.SIGKILL)  # before it has a record
    assert process.wait() == 1
    assert "failed: seed=0: its process was killed by SIGKILL" in err.read_text()
    assert {seed: record.status for seed, record in records(tmp_path / "runs").items()} == {1: "done"}
    process, out, _ = start(*command, "status=true")
    assert process.wait() == 0 and "1 done, 1 missing" in out.read_text()


def test_what_ended_a_process_is_said():
    assert "killed by SIGSEGV; the same command" in ended_by(-11)
    assert "out of memory" in ended_by(-9) and "exit code 3" in ended_by(3)


def test_what_says_nothing_of_a_run_is_not_its_own(make_config, monkeypatch, capsys):
    """So it is no failure of the run, and the sweep goes on with it when it is typed again."""
    killed, told = (RankDied("rank 1 died", its_own=its_own) for its_own in (False, True))
    told.add_note("run a, rank 0, step 3")
    assert failure_of(killed) == Failure("rank 1 died", its_own=False)
    assert failure_of(told) == Failure("rank 1 died (run a, rank 0, step 3)")
    assert capsys.readouterr().err.count("error: rank 1 died") == 2, (
        "said when it happens, not at the sweep's end alone"
    )

    for code, said in {143: "stopped by SIGTERM; the same command", 4: "exit code 4"}.items():
        ends = [sys.executable, "-c", f"import sys; sys.exit({code})"]
        monkeypatch.setattr(own_process, "command_of", lambda file, ends=ends: ends)
        with OwnProcesses() as processes:
            failure = processes.train(make_config(), "python train.py -m")
        assert failure is not None and said in failure.error and not failure.its_own

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(own_process.tempfile, "TemporaryDirectory", no_room)
    with OwnProcesses() as processes:
        failure = processes.train(make_config(), "python train.py -m")
    assert failure is not None and "No space left" in failure.error and not failure.its_own


def test_a_frozen_file_that_no_sweep_wrote_is_one_line(tmp_path):
    for content in ("", "[]", '{"config": "{}", "command": ""}', None):
        file = tmp_path / "run.json"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content)
        with pytest.raises(UserError):
            train_frozen(file)
