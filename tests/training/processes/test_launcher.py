"""Whose run a process belongs to follows from who started it, never from what an earlier job left behind."""

import os
from pathlib import Path

import pytest

from configs.compose import config_hash
from configs.errors import UserError
from training.processes import launcher
from training.processes.launcher import Place, recognised

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "first",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "1",
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NNODES": "2",
    "SLURM_NODELIST": "node[07-08]",
}
AGENTS = (
    ["/usr/bin/python3", "/opt/venv/bin/torchrun", "--nnodes", "2", "train.py"],
    ["python", "-m", "torch.distributed.run", "train.py"],
    ["python", "/lib/python3.12/site-packages/torch/distributed/run.py", "train.py"],
)


@pytest.fixture
def parents(monkeypatch):
    """Sets the command lines of the processes that this one descends from."""
    return lambda *commands: monkeypatch.setattr(launcher, "parent_commands", lambda: iter(commands))


@pytest.mark.parametrize("agent", AGENTS)
def test_a_process_of_torchrun_has_its_place(parents, agent):
    parents(["bash", "job.sh"], agent, ["sshd"])
    assert recognised(TORCHRUN) == Place("torchrun", 3, 4, 1, 2, 1, 2, "first", 29500, True, 2)


def test_what_torchrun_left_in_a_shell_is_ignored_with_a_note(parents, capsys):
    parents(["bash", "-c", "torchrun train.py; python train.py"], ["sshd"])
    assert recognised(TORCHRUN) is None
    assert "environment are ignored: TORCHELASTIC_RUN_ID" in capsys.readouterr().err


@pytest.mark.parametrize("absent", launcher.TORCHRUN)
def test_half_of_the_variables_of_torchrun_are_none(parents, absent):
    parents(AGENTS[0])
    assert recognised({key: value for key, value in TORCHRUN.items() if key != absent}) is None


def test_the_parents_of_a_process_are_those_the_system_names():
    if not os.path.exists("/proc/self/stat"):
        assert list(launcher.parents()) == []
        return
    assert next(launcher.parents()) == os.getppid()
    command = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    assert next(launcher.parent_commands()) == command


def test_a_task_of_srun_has_its_place(capsys):
    place = recognised(SRUN)
    assert place == Place("srun", 3, 4, 1, 2, 1, 2, "node07", place.port)
    assert recognised(SRUN | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}).port == place.port
    assert recognised(SRUN | {"SLURM_STEP_ID": "2"}).port != place.port, "two steps at the same time"
    assert recognised(SRUN | {"SLURM_TASK_PID": str(os.getppid())}) == place, "through a shell script"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "shell",
    [
        {"SLURM_STEP_ID": ""},  # a batch script, or a shell of salloc
        {"SLURM_STEP_NUM_TASKS": "1"},  # salloc's shell where it is a step of its own
        {"SLURM_PTY_PORT": "1"},  # srun --pty bash
        {"SLURM_JOB_NAME": "interactive"},
        {"SLURM_NTASKS": "1"},
        {"SLURM_TASK_PID": "1999999999"},  # exported from another task
        {"SLURM_NODELIST": ""},
    ],
)
def test_outside_a_step_of_several_tasks_slurm_decides_nothing(shell):
    assert recognised(SRUN | shell) is None


def test_leftovers_of_a_rank_do_not_make_one(make_config, monkeypatch, capsys):
    for name, value in {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", "SYNCHRONY_RESUME": "x"}.items():
        monkeypatch.setenv(name, value)
    config = make_config()
    assert launcher.placed(config) == (config, Place())
    assert "ignored" in capsys.readouterr().err


def test_the_number_of_devices_follows_the_launcher_or_agrees_with_it(make_config, monkeypatch):
    monkeypatch.setattr(launcher, "recognised", lambda variables: Place("torchrun", 1, 4, 1, 4))
    config, place = launcher.placed(make_config())
    assert config.trainer.devices == place.size == 4
    assert config_hash(config) == config_hash(make_config("trainer.devices=4"))
    assert launcher.placed(make_config("trainer.devices=4"))[0].trainer.devices == 4
    with pytest.raises(UserError, match=r"trainer.devices=2, but torchrun started 4 processes: type trainer.devices=4"):
        launcher.placed(make_config("trainer.devices=2"))
    monkeypatch.setattr(launcher, "recognised", lambda variables: Place("torchrun", 1, 3, 1, 3))
    with pytest.raises(UserError, match=r"trainer.devices=3.*batch_size"):
        launcher.placed(make_config())


def test_machines_with_different_numbers_of_processes_are_refused(parents):
    parents(AGENTS[0])
    with pytest.raises(UserError, match="the same number on every machine"):
        recognised(TORCHRUN | {"LOCAL_WORLD_SIZE": "3"})
