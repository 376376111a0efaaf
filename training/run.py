"""One run from its config: data, model, training, record. `train.py` is a shell around `run`."""

import contextlib
import logging
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
import yaml
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import nn

from blocks.decoder import Decoder
from configs.compose import config_dict, config_hash
from configs.errors import UserError
from configs.schema import RunConfig
from data.atomic_write import WriteError, write_atomically
from data.training_data import TrainingData
from ssa.backends import fallen_back
from training import announce
from training.attention_backend import backends, set_backend
from training.budget import resolve_shape, without_tables
from training.build import build_model, parameters_by_part
from training.loop import Loop
from training.meter import Meter
from training.progress import Progress
from training.run_record import environment
from training.run_record.checkpoints import (
    AtomicCheckpointIO,
    Checkpoints,
    newest_whole,
    read_checkpoint,
    remove_half_written,
    set_aside_damaged,
)
from training.run_record.record import RunRecord, without_absolute_paths
from training.run_record.recorder import Recorder, now
from training.run_record.run_directory import TOKENIZER, claimed, differing_keys, earlier_run, run_directory
from training.run_record.wandb_mirror import WandbMirror
from training.schedule import total_steps
from training.sharded import ShardedStrategy
from training.signals import GracefulStop, Interrupted
from training.tasks import TASKS, Task

RESUME = "SYNCHRONY_RESUME"  # tells the processes that a distributed run starts which checkpoint the first one chose


@dataclass
class Plan:
    """All that follows from a config before anything is written. `config`: with its shape resolved."""

    config: RunConfig
    folder: Path
    kind: str  # cpu | cuda
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


def run(config: RunConfig) -> RunRecord:
    """Train as `config` says, or go on with what an earlier call left; the record of the finished run.

    With `plan=true` it only prints what would be run; the record it returns then is that of a run not begun.
    Raises UserError for what a user can put right, and Interrupted after SIGINT or SIGTERM; in both cases the record
    says so and the newest checkpoint on the disk is whole.
    """
    environment.refuse_launchers()
    main = environment.is_main_process()
    with GracefulStop() as stop:
        plan = make_plan(config)
        if main:
            print(plan, flush=True)
        if config.plan:
            return plan.record
        if not main:
            # Only the first process speaks for an interrupted run; Lightning kills it when another one fails.
            with contextlib.suppress(Interrupted):
                train(plan, stop, Path(os.environ[RESUME]) if RESUME in os.environ else None, main)
            return plan.record
        with claimed(plan.folder, config.overwrite):
            earlier = earlier_run(plan.folder, plan.record, plan.data.place)
            if earlier is not None and earlier.status == "done":
                print(f"already finished: {announce.outcome(earlier, plan.folder)}")
                return earlier
            checkpoint = checkpoint_to_resume(plan)
            windows = config.trainer.micro_batch_size or config.batch_size // config.trainer.devices
            plan.record.ssa = backends(plan.model, plan.kind, windows, config.data.context)
            if plan.record.ssa:
                print(announce.row("attention", ", ".join(f"{what} {how}" for what, how in plan.record.ssa.items())))
            if earlier is not None and checkpoint is not None:
                plan.record.go_on_from(earlier)
                if changed := differing_keys(earlier.made_with(), plan.record.made_with()):
                    print(
                        f"warning: the run began with something else: {changed}; the weights may differ from those of "
                        "a run in one go, and the record names both",
                        file=sys.stderr,
                    )
            train(plan, stop, checkpoint, main)
            print(f"done: {announce.outcome(plan.record, plan.folder)}")
            return plan.record


def make_plan(config: RunConfig) -> Plan:
    """Open the data, solve the shape, build the model. Raises UserError for a run that cannot be.

    What is only planned may be for devices that are not here.
    """
    try:
        kind = environment.device_kind(config)
    except UserError:
        if not config.plan:
            raise
        kind = "cpu"
    task = TASKS[config.task]
    data = task.data(config)
    config = resolve_shape(config, data.vocabulary_size)
    total = total_steps(config.trainer, data.steps_per_epoch)
    environment.prepare(config, kind)
    model = build_model(config.model, data.vocabulary_size, config.task)
    set_backend(model, config.ssa.backend, kind, gradients=True)
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
        device=environment.device(config, kind),
        versions=environment.versions(),
        git=environment.git(),
        command=environment.command(),
        started=now(),
    )
    return Plan(config, run_directory(config), kind, task, data, model, total, record)


def require_whole_logits(config: RunConfig, model: nn.Module) -> None:
    """UserError where CUDA graphs are to be captured of a pass whose loss is read in parts: their shapes would vary."""
    n_tokens = config.batch_size * config.data.context
    if config.trainer.cuda_graphs and isinstance(model, Decoder) and model.reads_in_parts(n_tokens):
        raise UserError(
            f"trainer.cuda_graphs=true takes passes of one shape, and the loss over {model.vocabulary_size:,} tokens "
            "is read in parts: leave it out"
        )


def checkpoint_to_resume(plan: Plan) -> Path | None:
    """The newest whole checkpoint of the run directory. UserError when it is that of another run."""
    remove_half_written(plan.folder)
    set_aside_damaged(plan.folder / "checkpoints")
    checkpoint = newest_whole(plan.folder)
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        different = differing_keys(without_absolute_paths(content["config"]), plan.record.config)
        if content["data_sha256"] != plan.record.data.sha256:
            different = different or "its data had another SHA-256"
        if content.get("tokens_sha256") != plan.record.data.tokenizer.get(
            "tokens_sha256"
        ):  # absent in older ones, of bytes
            different = different or "its text was cut into other tokens"
        if different:
            raise UserError(f"{checkpoint} belongs to another run: {different}; move it away or say overwrite=true")
        print(f"resuming from step {content['global_step']:,} of {plan.total_steps:,} ({checkpoint})", flush=True)
    return checkpoint


def train(plan: Plan, stop: GracefulStop, checkpoint: Path | None, main: bool) -> None:
    """Bring the run to its end, from a checkpoint or from the start, and keep its record whatever happens."""
    config, folder, record = plan.config, plan.folder, plan.record
    step = 0 if checkpoint is None else read_checkpoint(checkpoint)["global_step"]
    unit = plan.task.unit
    progress = Progress(plan.total_steps, config.trainer.progress and main, unit)
    recorder = Recorder(record, folder if main else None, [progress.row])
    recorder.start(yaml.safe_dump(config_dict(config), sort_keys=False), step)
    mirror = WandbMirror(config.logger, folder) if main and config.logger.name == "wandb" else None
    if mirror is not None:
        recorder.listeners.append(mirror.check)
    module = plan.task.module(plan.model, config.optim, plan.total_steps, plan.data.n_micro, config.trainer.cuda_graphs)
    loop = make_loop(plan, recorder, progress, stop)
    # Where only the last validation is missing, this process makes it alone: `Loop.complete`.
    trainer = make_trainer(plan, loop, 1 if step == plan.total_steps else None)
    try:
        if main and plan.data.tokenizer_file is not None:
            write_atomically(folder / TOKENIZER, plan.data.tokenizer_file)
        progress.start(step, next((row[unit.key] for row in reversed(record.rows("validation"))), None))
        if config.compile:
            plan.model.compile(dynamic=False)
        os.environ.pop(RESUME, None)
        if checkpoint is not None:
            os.environ[RESUME] = str(checkpoint)
        trainer.fit(module, datamodule=plan.data, ckpt_path=checkpoint)
        record.ssa |= fallen_back()
        if main:
            loop.complete(module, torch.device(plan.kind))
        recorder.finish("done")
    except Interrupted as error:
        recorder.finish("interrupted", f"stopped by {error}")
        raise
    except BaseException as error:
        if main and trainer.strategy.launcher is not None:
            # The other processes would wait for this one in a collective for ever.
            trainer.strategy.launcher.kill(signal.SIGKILL)
        with contextlib.suppress(WriteError):
            recorder.finish("failed", f"{type(error).__name__}: {error}")
        if isinstance(error, WriteError):
            raise UserError(f"{error}; {describe_newest(folder)}") from error
        raise
    finally:
        os.environ.pop(RESUME, None)
        progress.stop()
        if mirror is not None:
            mirror.finish()


def describe_newest(folder: Path) -> str:
    """What is safe on the disk after a failure."""
    newest = newest_whole(folder)
    if newest is None:
        return "no checkpoint was written yet"
    step = read_checkpoint(newest)["global_step"]
    return f"the last whole checkpoint is {newest} (step {step:,}); the same command goes on there"


def make_loop(plan: Plan, recorder: Recorder, progress: Progress, stop: GracefulStop) -> Loop:
    """The parts that work around each step, from the config."""
    trainer, per_epoch, total = plan.config.trainer, plan.data.steps_per_epoch, plan.total_steps
    tokenizer = plan.record.data.tokenizer
    identity = {
        "config": config_dict(plan.config),
        "config_hash": plan.record.config_hash,
        "data_sha256": plan.record.data.sha256,
        "tokens_sha256": tokenizer.get("tokens_sha256"),
        "vocabulary_size": plan.data.vocabulary_size,
        **({"characters": tokenizer["characters"]} if "characters" in tokenizer else {}),
    }
    epochs = trainer.checkpoint_epochs
    if not epochs and per_epoch is not None:
        epochs = list(range(max(1, total // per_epoch - plan.task.averaged + 1), total // per_epoch + 1))
    return Loop(
        Meter(per_epoch, total, trainer.log_every, plan.task.unit),
        Checkpoints(plan.folder / "checkpoints", trainer.checkpoint_every, epochs, per_epoch, total, identity),
        plan.task.validation(plan.config, plan.data, total),
        recorder,
        progress,
        stop,
    )


def make_trainer(plan: Plan, loop: Loop, devices: int | None = None) -> L.Trainer:
    """Lightning's loop and device handling, without its loggers, checkpoints and validation. `devices` None: of the
    config.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of a deprecated name of torch
    config = plan.config
    devices = devices or config.trainer.devices
    return L.Trainer(
        accelerator=plan.kind,
        devices=devices,
        strategy="auto" if devices == 1 else ShardedStrategy() if config.trainer.strategy == "fsdp" else "ddp",
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_steps=plan.total_steps,
        max_epochs=-1,
        accumulate_grad_batches=plan.data.n_micro,
        # The environment is named because Lightning would find a cluster's (SLURM's, say) and refuse its own devices.
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        callbacks=[loop],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
