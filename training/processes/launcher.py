"""Who started this process, a user, torchrun or srun, and which one it is among the processes of its run.

What an earlier job left in the environment decides nothing. torchrun is believed where its agent is among the parents
of this process, srun inside one of its steps of several tasks. The processes that a run starts itself are told what
they are on their standard input (`training.processes.children`), and look at no variable.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from configs.errors import UserError
from configs.frozen import freeze, thaw
from configs.schema import RunConfig

# What torchrun gives to each process that it starts, all of it.
TORCHRUN = (
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
# What srun does, and mpirun, which starts no run of ours.
SRUN = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_NNODES",
)
OTHERS = ("NODE_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


@dataclass(frozen=True)
class Place:
    """One process among the `size` of a run, `local_size` of them on each of `nodes` machines.

    `launcher`: torchrun or srun; empty where the run starts its processes itself. `address`, `port`: where they meet.
    """

    launcher: str = ""
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0
    nodes: int = 1
    address: str = "127.0.0.1"
    port: int = 0  # 0: any that is free
    agent_store: bool = False  # the meeting point is held by torchrun, not by rank 0
    attempt: int = 0  # how often torchrun has started the processes before

    @property
    def external(self) -> bool:
        """Whether the processes are there before the run is."""
        return bool(self.launcher) and self.size > 1


def placed(config: RunConfig) -> tuple[RunConfig, Place]:
    """The config with the number of processes that the launcher started, and the place of this process among them.

    `trainer.devices` counts the processes on all machines. 1 follows the launcher; UserError for another number that
    contradicts it.
    """
    place = recognised(os.environ)
    devices = config.trainer.devices
    if place is None:
        return config, Place(size=devices, local_size=devices)
    if devices not in (1, place.size):
        raise UserError(
            f"trainer.devices={devices}, but {place.launcher} started {place.size} processes: type "
            f"trainer.devices={place.size}, or have {place.launcher} start {devices}"
        )
    if devices != place.size:
        config = thaw(freeze(replace(config, trainer=replace(config.trainer, devices=place.size))))  # checked again
    return config, place


def recognised(variables: Mapping[str, str]) -> Place | None:
    """The place that torchrun or srun gave to this process; None where neither started it. UserError for a cut that is
    not the same on every machine.
    """
    place = _torchrun(variables) or _srun(variables)
    left = [name for name in (*TORCHRUN, *OTHERS) if name in variables and not name.startswith("MASTER_")]
    if place is None and left:
        print(
            "note: no launcher started this command, so these variables of the environment are ignored: "
            f"{', '.join(left[:3])}{' and others' * (len(left) > 3)}; "
            "trainer.devices=N, torchrun and srun start several processes",
            file=sys.stderr,
        )
    if place is not None and place.local_size * place.nodes != place.size:
        raise UserError(
            f"{place.launcher} started {place.size} processes on {place.nodes} machines, not as many on each: "
            "start the same number on every machine"
        )
    return place


def _torchrun(variables: Mapping[str, str]) -> Place | None:
    if any(not variables.get(name) for name in TORCHRUN):
        return None
    parents = list(parent_commands())
    if parents and not any(map(_is_agent, parents)):
        return None
    try:
        numbers = {
            name: int(variables[name]) for name in TORCHRUN if name not in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR")
        }
    except ValueError:
        return None
    return Place(
        "torchrun",
        numbers["RANK"],
        numbers["WORLD_SIZE"],
        numbers["LOCAL_RANK"],
        numbers["LOCAL_WORLD_SIZE"],
        numbers["GROUP_RANK"],
        numbers["GROUP_WORLD_SIZE"],
        variables["MASTER_ADDR"],
        numbers["MASTER_PORT"],
        variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        numbers["TORCHELASTIC_RESTART_COUNT"],
    )


def _is_agent(command: list[str]) -> bool:
    """Whether a command line, by arguments, is that of torchrun or of `python -m torch.distributed.run`."""
    names = [argument.replace("/", ".").removesuffix(".py") for argument in command]
    return any(
        f".{name}".endswith((".torchrun", ".torch.distributed.run", ".torch.distributed.launch")) for name in names
    )


def _srun(variables: Mapping[str, str]) -> Place | None:
    """A shell of salloc or `srun --pty` has the variables of its own step, and a batch script those of no step."""
    try:
        numbers = {name: int(variables[name]) for name in SRUN}
        size = int(variables.get("SLURM_STEP_NUM_TASKS", numbers["SLURM_NTASKS"]))
        nodes = int(variables.get("SLURM_STEP_NUM_NODES", numbers["SLURM_NNODES"]))
        task = int(variables.get("SLURM_TASK_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    hosts = variables.get("SLURM_STEP_NODELIST") or variables.get("SLURM_NODELIST")
    interactive = "SLURM_PTY_PORT" in variables or variables.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if size < 2 or not hosts or interactive or task not in (os.getpid(), *parents()):
        return None
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    return Place(
        "srun",
        numbers["SLURM_PROCID"],
        size,
        numbers["SLURM_LOCALID"],
        size // nodes,
        numbers["SLURM_NODEID"],
        nodes,
        SLURMEnvironment.resolve_root_node_address(hosts),
        # of all ports that need no rights, one that two steps at the same time do not share
        20_000 + (numbers["SLURM_JOB_ID"] * 8 + numbers["SLURM_STEP_ID"]) % 10_000,
    )


def parents() -> Iterator[int]:
    """The numbers of the processes that this one descends from, the nearest first; none where there is no /proc."""
    process = os.getpid()
    while process > 1:
        try:
            status = Path(f"/proc/{process}/stat").read_text(errors="replace")
        except OSError:
            return
        process = int(status.rpartition(")")[2].split()[1])
        yield process


def parent_commands() -> Iterator[list[str]]:
    """The command lines of these processes, by arguments."""
    for process in parents():
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        yield command.decode(errors="replace").split("\0")
