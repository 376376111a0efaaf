"""One run from its config: data, model, training, record. `train.py` is a shell around `run`."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml

from configs.compose import config_dict, config_hash
from configs.errors import UserError
from configs.heartbeat import beating, doing
from configs.schema import RunConfig
from data.atomic_write import WriteError, write_atomically
from ssa.backends import fallen_back
from training import announce
from training.attention_backend import backends
from training.batches import Batches
from training.compiler import compile_passes
from training.instability import GradientWatch
from training.loop import Loop
from training.meter import Meter, Row
from training.out_of_memory import OutOfMemory, of_run, out_of_memory_named
from training.plan import Plan, make_plan, show_plan
from training.processes.group import Group
from training.processes.launcher import Place, placed
from training.processes.placed_environment import PlacedEnvironment
from training.processes.watch import RankDied
from training.progress import Progress
from training.run_record import environment
from training.run_record.checkpoints import (
    AtomicCheckpointIO,
    Checkpoints,
    newest_whole,
    read_checkpoint,
    remove_half_written,
    require_weights_of,
    set_aside_damaged,
)
from training.run_record.record import NO_CHECKPOINT, RunRecord, without_absolute_paths
from training.run_record.recorder import Recorder
from training.run_record.run_directory import (
    TOKENIZER,
    claimed,
    differing_keys,
    earlier_run,
    flat,
    require_nothing_lost,
)
from training.run_record.status_file import StatusFile
from training.run_record.wandb_mirror import WandbMirror
from training.sharded import ShardedStrategy
from training.signals import GracefulStop, Interrupted

RELAY = 2.0  # seconds in which a launcher passes on a signal that the terminal has sent to its processes too
MACHINE = ("data.path", "data.cache_dir", "run_dir", "runs", "logger.")  # keys of where things lie on a machine


def run(config: RunConfig, place: Place | None = None) -> RunRecord | None:
    """Train as `config` says, or continue what an earlier call left; the record of the finished run.

    None in a process of a launcher that had no part in it, because nothing or only a validation was left to do.

    With `plan=true` it only prints what would be run; the record it returns then is that of a run not begun.
    `place`: of this process among those of the run; None: as the launcher that started it says.
    Raises UserError for what a user can put right, Interrupted after SIGINT or SIGTERM, RankDied where another process
    of the run ended it; in all cases the record says so and the newest checkpoint on the disk is whole.
    """
    if config.plan:
        return show_plan(config, place)
    if place is None:
        config, place = placed(config)
    main = place.rank == 0
    named = out_of_memory_named(lambda error: of_run(config, error))
    with GracefulStop() as stop, beating(main, lines=config.trainer.progress), named:
        stop.speaks, stop.relayed = main, RELAY if place.external else 0.0
        with Group(place, config.trainer.timeout) as group:
            return lead(config, stop, group) if group.main else follow(config, stop, group)


def lead(config: RunConfig, stop: GracefulStop, group: Group) -> RunRecord:
    """The run in its rank 0, which decides where it goes on, writes its files and starts the other processes."""
    plan = make_plan(config, group.place)
    print(plan, flush=True)
    with claimed(plan.folder, config.overwrite):
        earlier = earlier_run(plan.folder, plan.record, plan.data.place)
        if earlier is not None and earlier.status == "done":
            group.tell({"done": True})
            print(f"already finished: {announce.outcome(earlier, plan.folder)}")
            if earlier.final and earlier.final["step"] < plan.total_steps:
                print(
                    f"note: trainer.max_epochs ended it, over which trainer.max_steps={plan.total_steps} rules now; "
                    "overwrite=true makes all steps"
                )
            return earlier
        checkpoint = checkpoint_to_resume(plan, earlier)
        windows = config.trainer.micro_batch_size or config.batch_size // config.trainer.devices
        plan.record.ssa = backends(plan.model, plan.kind, windows, config.data.context)
        if plan.record.ssa:
            print(announce.row("attention", ", ".join(f"{what} {how}" for what, how in plan.record.ssa.items())))
        if earlier is not None and checkpoint is not None:
            plan.record.go_on_from(earlier)
            if changed := differing_keys(earlier.made_with(), plan.record.made_with()):
                print(
                    f"warning: {plan.folder.name}: the run began with something else: {changed}; the weights may "
                    "differ from those of a run in one go, and the record names both",
                    file=sys.stderr,
                )
        if checkpoint is not None and read_checkpoint(checkpoint)["global_step"] == plan.total_steps:
            # Only the last validation is missing, and this process makes it alone: `Loop.complete`.
            group.tell({"done": True})
            with Group(Place(), config.trainer.timeout) as alone:
                train(replace(plan, place=alone.place), stop, checkpoint, alone)
        else:
            if group.place.size > 1:
                doing("waiting for the other processes")
            group.start(config)
            group.tell({"done": False, "checkpoint": checkpoint and str(checkpoint.absolute())})
            group.agree(what_is_trained(plan, checkpoint))
            train(plan, stop, checkpoint, group)
        print(f"done: {announce.outcome(plan.record, plan.folder)}")
        return plan.record


def follow(config: RunConfig, stop: GracefulStop, group: Group) -> RunRecord | None:
    """The run in any other rank, which writes nothing; None where nothing is left to it. Whatever keeps this rank from
    training ends all ranks, with one line.
    """
    decided = group.told()  # first, because rank 0 makes what is missing of the corpus
    if decided["done"]:
        return None
    try:
        plan = make_plan(config, group.place)
        checkpoint = Path(decided["checkpoint"]) if decided.get("checkpoint") else None
        ours = what_is_trained(plan, checkpoint)
    except UserError as error:
        ours = {"error": str(error)}
    group.agree(ours)
    train(plan, stop, checkpoint, group)
    return plan.record


def what_is_trained(plan: Plan, checkpoint: Path | None) -> dict[str, Any]:
    """What must be the same in all processes of a run, by the name that a user knows. Paths may differ between
    machines.
    """
    config = {key: value for key, value in flat(plan.record.config).items() if not key.startswith(MACHINE)}
    return config | {
        "config hash": config_hash(plan.config),  # the record has that of the earlier part of the run
        "SHA-256 of the data": plan.record.data.sha256,
        "SHA-256 of the tokens": plan.record.data.tokenizer.get("tokens_sha256"),
        "checkpoint": 0 if checkpoint is None else read_checkpoint(checkpoint)["global_step"],
        "SHA-256 of the code": environment.source_sha256(),
        "torch": plan.record.versions["torch"],
        "device": plan.kind,
    }


def checkpoint_to_resume(plan: Plan, earlier: RunRecord | None) -> Path | None:
    """The newest whole checkpoint of the run directory. UserError when it is that of another run, or lost."""
    remove_half_written(plan.folder)
    set_aside_damaged(plan.folder)
    checkpoint = newest_whole(plan.folder)
    if checkpoint is None:
        require_nothing_lost(plan.folder, earlier, plan.config.trainer.checkpoint_every)
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
        require_weights_of(plan.config, content, checkpoint)
        if not content["optimizer_states"]:  # Lightning would begin with fresh moments, without a word
            raise UserError(f"{checkpoint} lacks the state of the optimizer; move it away or say overwrite=true")
        print(f"resuming from step {content['global_step']:,} of {plan.total_steps:,} ({checkpoint})", flush=True)
    return checkpoint


def train(plan: Plan, stop: GracefulStop, checkpoint: Path | None, group: Group) -> None:
    """Bring the run to its end, from a checkpoint or from the start, and keep its record whatever happens."""
    config, folder, record, main = plan.config, plan.folder, plan.record, group.main
    step = 0 if checkpoint is None else read_checkpoint(checkpoint)["global_step"]
    unit = plan.task.unit
    status = StatusFile(folder, record, plan.total_steps, plan.data.steps_per_epoch) if main else None
    progress = Progress(plan.total_steps, config.trainer.progress and main, unit, folder.name, status)
    progress.rank = group.place.rank
    recorder = Recorder(record, folder if main else None, [progress.row])
    recorder.start(yaml.safe_dump(config_dict(config), sort_keys=False), step)
    if config.task != "recall":  # which is learned in sudden steps
        recorder.listeners.append(gradient_watch(config, progress, record.metrics).row)
    mirror = WandbMirror(config.logger, folder) if main and config.logger.name == "wandb" else None
    if mirror is not None:
        recorder.listeners.append(mirror.check)

    def end(death: BaseException, text: str) -> None:
        killed = isinstance(death, RankDied) and not death.its_own
        interrupted = killed or isinstance(death, Interrupted)
        if interrupted and main and (newest := describe_newest(folder)) == NO_CHECKPOINT:
            text = f"{text}; {newest}"
        recorder.finish("interrupted" if interrupted else "failed", text)
        progress.stop()

    group.watch.at_forced_end = lambda death: end(death, str(death))
    graphs = config.trainer.cuda_graphs and not config.compile  # a compiler captures its own
    module = plan.task.module(plan.model, config.optim, plan.total_steps, plan.data.n_micro, graphs)
    loop = make_loop(plan, recorder, progress, stop)
    trainer = make_trainer(plan, loop)
    try:
        group.connect(plan.kind)
        stop.group = group.host
        if main and plan.data.tokenizer_file is not None:
            write_atomically(folder / TOKENIZER, plan.data.tokenizer_file)
        last = record.metrics[-1] if record.metrics else {}
        validated = next((row[unit.key] for row in reversed(record.rows("validation"))), None)
        progress.start(step, validated, last.get("tokens", 0))
        if config.compile:
            compile_passes(plan.model, config.trainer.cuda_graphs)
        with out_of_memory_named(lambda error: of_run(config, error)):
            trainer.fit(module, datamodule=Batches(plan.data), ckpt_path=checkpoint)
            record.ssa |= fallen_back()
            if main:
                loop.complete(module, torch.device(plan.kind))
        recorder.finish("done")
    except Interrupted as error:
        recorder.finish("interrupted", f"stopped by {error}")
        raise
    except BaseException as error:
        cause = group.cause(error)
        text = str(cause) if isinstance(cause, RankDied | OutOfMemory) else f"{type(cause).__name__}: {cause}"
        with contextlib.suppress(WriteError):
            end(cause, text)
        if isinstance(error, WriteError):
            told = UserError(f"{error}; {describe_newest(folder)}")
            told.add_note(progress.where())
            raise told from error
        if cause is not error:
            raise cause from None
        error.add_note(progress.where())
        raise
    finally:
        progress.stop()
        if mirror is not None:
            mirror.finish()


def gradient_watch(config: RunConfig, progress: Progress, earlier: Sequence[Row]) -> GradientWatch:
    """What warns of a run that becomes unstable, and of what to type then."""
    assert config.optim.lr is not None  # training/budget.py fills it in
    advice = f"type a lower optim.lr than {config.optim.lr:g}"
    if getattr(config.model, "increment_limit", ...) is None:
        advice += ", or model.increment_limit=2"
    return GradientWatch(progress.warn, advice, earlier)


def describe_newest(folder: Path) -> str:
    """What is safe on the disk after a failure."""
    try:
        newest = newest_whole(folder)
        if newest is None:
            return NO_CHECKPOINT
        step = read_checkpoint(newest)["global_step"]
    except UserError as error:  # the failure that is being told says more
        return str(error)
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
        plan.config.compile,
    )


def make_trainer(plan: Plan, loop: Loop) -> L.Trainer:
    """Lightning's loop and device handling, without its loggers, checkpoints and validation."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own use of a deprecated name of torch
    config = plan.config
    return L.Trainer(
        accelerator=plan.kind,
        devices=plan.place.local_size,
        num_nodes=plan.place.nodes,
        strategy="auto" if plan.place.size == 1 else ShardedStrategy() if config.trainer.strategy == "fsdp" else "ddp",
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_steps=plan.total_steps,
        max_epochs=-1,
        accumulate_grad_batches=plan.data.n_micro,
        # The environment is named because Lightning would believe what an earlier job left in the variables.
        plugins=[AtomicCheckpointIO(), PlacedEnvironment(plan.place)],
        callbacks=[loop],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
