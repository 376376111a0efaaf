"""All that follows from a config before anything is written: data, shape, model, place of the run, its record."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from configs.compose import config_dict, config_hash
from configs.errors import UserError
from configs.heartbeat import beating, doing
from configs.schema import RunConfig
from data.training_data import TrainingData
from synchrony_blocks.decoder import Decoder
from training import announce
from training.attention_backend import set_backend
from training.budget import resolve_shape, without_tables
from training.build import build_model, parameters_by_part
from training.compiler import require_compiler
from training.out_of_memory import of_run, out_of_memory_named
from training.processes.launcher import Place, placed
from training.run_record.device import device, device_kind, prepare
from training.run_record.environment import command, git, versions
from training.run_record.record import RunRecord, now, without_absolute_paths
from training.run_record.run_directory import run_directory
from training.schedule import total_steps
from training.signals import GracefulStop
from training.tasks import TASKS, Task


@dataclass
class Plan:
    """What a run will be. `config`: with its shape resolved."""

    config: RunConfig
    folder: Path
    kind: str  # cpu | cuda
    place: Place
    task: Task
    data: TrainingData
    model: nn.Module
    total_steps: int
    record: RunRecord

    def __str__(self) -> str:
        asked = self.config, self.record, self.total_steps, self.data.steps_per_epoch, self.folder
        if not self.config.plan:
            return announce.plan(*asked)
        memory, trainer = self.task.memory(self.model, self.config, self.data), self.config.trainer
        return announce.plan(*asked, memory.cut(trainer.devices) if trainer.strategy == "fsdp" else memory)


def make_plan(config: RunConfig, place: Place | None = None) -> Plan:
    """Open the data, solve the shape, build the model. Raises UserError for an impossible run.

    A run that is only planned may be for devices that this machine lacks.
    """
    place = place or Place(size=config.trainer.devices, local_size=config.trainer.devices)
    try:
        kind = device_kind(config, place)
    except UserError:
        if not config.plan:
            raise
        kind = "cpu"
    task = TASKS[config.task]
    doing(f"opening the data, {config.data.name}")
    data = task.data(config)
    doing("building the model")
    config = resolve_shape(config, data.vocabulary_size)
    total = total_steps(config.trainer, data.steps_per_epoch)
    prepare(config, kind)
    model = build_model(config.model, data.vocabulary_size, config.task)
    set_backend(model, config.ssa.backend, kind, gradients=True)
    if config.compile and not config.plan:
        require_compiler(kind)
    require_whole_logits(config, model)
    parameters = parameters_by_part(model)
    if not config.data.counts_tables:
        parameters["without_tables"] = without_tables(parameters)
    record = RunRecord(
        config=without_absolute_paths(config_dict(config)),
        config_hash=config_hash(config),
        parameters=parameters,
        flops_per_token=task.flops(model, data),
        data=task.info(data),
        seed=config.seed,
        device=device(config, kind),
        versions=versions(),
        git=git(),
        command=command(),
        started=now(),
    )
    return Plan(config, run_directory(config), kind, place, task, data, model, total, record)


def show_plan(config: RunConfig, place: Place | None = None) -> RunRecord:
    """Print what would be run; the record of that run, not begun. UserError as of `make_plan`.

    `place`: None: as the launcher that started this process says.
    """
    if place is None:
        config, place = placed(config)
    main = place.rank == 0
    named = out_of_memory_named(lambda error: of_run(config, error))
    with GracefulStop(), beating(main and config.trainer.progress), named:
        plan = make_plan(config, place)
        if main:
            print(plan, flush=True)
    return plan.record


def require_whole_logits(config: RunConfig, model: nn.Module) -> None:
    """UserError where CUDA graphs would capture a pass whose loss is read in parts, because the shapes of these
    vary.
    """
    n_tokens = config.batch_size * config.data.context
    if config.trainer.cuda_graphs and isinstance(model, Decoder) and model.reads_in_parts(n_tokens):
        raise UserError(
            f"trainer.cuda_graphs=true takes passes of one shape, and the loss over {model.vocabulary_size:,} tokens "
            "is read in parts: leave it out"
        )
