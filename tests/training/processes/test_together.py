"""Runs of several processes: started by themselves, by torchrun, by srun on two nodes; killed, hanging, failing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.run_record.record import load_record

ROOT = Path(__file__).parents[3]
TRAIN = str(ROOT / "train.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
LONG = ("trainer.max_steps=20000", "trainer.checkpoint_every=3", "trainer.log_every=1")

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")


@pytest.fixture
def start(tmp_path):
    def call(*command, **variables):
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call


def wait_for(condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def second(process):
    """The process of rank 1, which rank 0 has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (rank1,) = (int(c) for c in children if b"processes.child" in Path(f"/proc/{c}/cmdline").read_bytes())
    return rank1


def test_a_killed_rank_is_named_and_the_run_goes_on_on_other_nodes(start, overrides, tmp_path, uninterrupted):
    """Killed where it started both processes itself; finished by two nodes of one process each, as srun starts them."""
    folder = tmp_path / "run"
    enough = ("trainer.max_steps=200", "trainer.checkpoint_every=3")  # to be killed in between
    several = (TRAIN, *overrides, *enough, "trainer.devices=2", "trainer.strategy=ddp")
    process = start(*several)
    wait_for((folder / "checkpoints" / "last.ckpt").exists)
    os.kill(second(process), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert re.fullmatch(r"error: rank 1 died: killed by SIGKILL.*", err.splitlines()[-1]) and "Traceback" not in err
    record = load_record(folder)
    assert record.status == "interrupted" and record.error.startswith("rank 1 died: killed by SIGKILL")

    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "2",
        "SLURM_LOCALID": "0",
        "SLURM_STEP_NODELIST": "localhost",
    }
    # What an earlier job left decides nothing.
    left = {"LOCAL_RANK": "3", "RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "1"}
    nodes = [start(*several, **slurm, **left, SLURM_PROCID=rank, SLURM_NODEID=rank) for rank in ("0", "1")]
    told = [node.communicate(timeout=240) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert "resuming from step" in told[0][0] and "done:" in told[0][0] and told[1][0] == ""
    record = load_record(folder)
    assert record.status == "done" and record.device.count == 2
    steps = [(row["step"], row["split"]) for row in record.metrics]
    assert steps == [(row["step"], row["split"]) for row in load_record(uninterrupted(*enough)).metrics]


def test_a_hanging_rank_is_named_and_ends_the_run_after_a_while(start, overrides, tmp_path):
    several = (TRAIN, *overrides, *LONG, "trainer.devices=2", "trainer.strategy=ddp", "trainer.timeout=20")
    process = start(*several)
    wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists)
    os.kill(second(process), signal.SIGSTOP)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert re.search(r"^warning: the others wait for rank 1, \d+ s by now; after 20 s the run ends$", err, re.MULTILINE)
    end = r"error: rank 1 did not come to a collective of all within \d+ s; trainer.timeout=20 is the limit"
    assert re.fullmatch(end, err.splitlines()[-1]) and "Traceback" not in err
    record = load_record(tmp_path / "run")
    assert record.status == "interrupted" and "rank 1 did not come" in record.error, "a sweep goes on with it"


def test_torchrun_trains_and_shows_the_error_of_the_rank_that_failed(
    start, overrides, tmp_path, uninterrupted, weights
):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from training.meter import Meter\n"
        "measure = Meter.measure\n"
        "def fail(self, trainer, *rest):\n"
        "    if trainer.global_step == 10 and trainer.global_rank == 1: raise ZeroDivisionError('a bug')\n"
        "    return measure(self, trainer, *rest)\n"
        "Meter.measure = fail\n"
        "from train import main_or_sweep\n"
        "main_or_sweep()\n"
    )
    process = start(*TORCHRUN, str(script), *overrides)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert "error: rank 1 died: ZeroDivisionError: a bug" in err and "gloo" not in err
    record = load_record(tmp_path / "run")
    assert record.status == "failed" and record.error == "rank 1 died: ZeroDivisionError: a bug"

    process = start(*TORCHRUN, TRAIN, *overrides)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.count("resuming from step 7") == 1 and out.count("done:") == 1
    assert load_record(tmp_path / "run").device.count == 2
    alone = weights(uninterrupted())
    assert all((value - alone[name]).abs().max() < 2e-3 for name, value in weights(tmp_path / "run").items())
