"""One process of several that train together: python one_of_several.py RANK WORLD PORT JSON.

JSON: a list of runs, each of `overrides`, a `strategy` and a `checkpoint` to go on from (or null). They are trained one
after another, so that a process is started once. Each is what `training.run` makes of the config, except for the start.
"""

import json
import os
import sys
from pathlib import Path

import lightning as L
import yaml
from lightning.pytorch.plugins.environments import LightningEnvironment

from configs.compose import compose, config_dict
from training.batches import Batches
from training.plan import make_plan
from training.progress import Progress
from training.run import make_loop
from training.run_record.checkpoints import AtomicCheckpointIO
from training.run_record.recorder import Recorder
from training.sharded import ShardedStrategy
from training.signals import GracefulStop


def train(rank: int, world: int, overrides: list[str], strategy: str, checkpoint: str | None) -> None:
    plan = make_plan(compose("train", [*overrides, f"trainer.devices={world}"]))
    (plan.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    recorder = Recorder(plan.record, plan.folder if rank == 0 else None, [])
    recorder.start(yaml.safe_dump(config_dict(plan.config)), 0)
    progress = Progress(plan.total_steps, False, plan.task.unit)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy=ShardedStrategy() if strategy == "fsdp" else strategy,
        max_steps=plan.total_steps,
        max_epochs=-1,
        accumulate_grad_batches=plan.data.n_micro,
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        callbacks=[make_loop(plan, recorder, progress, GracefulStop())],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    module = plan.task.module(plan.model, plan.config.optim, plan.total_steps, plan.data.n_micro)
    trainer.fit(module, datamodule=Batches(plan.data), ckpt_path=None if checkpoint is None else Path(checkpoint))
    recorder.finish("done")


if __name__ == "__main__":
    rank, world, port, runs = sys.argv[1:]
    os.environ |= {"LOCAL_RANK": rank, "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for one in json.loads(runs):
        train(int(rank), int(world), **one)
