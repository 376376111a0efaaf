"""The batches of a run as Lightning asks for them."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning as L

from data.training_data import TrainingData


class Batches(L.LightningDataModule):
    """What `data` trains on. `data.n_micro` batches of the loader make one optimizer step: give the trainer
    accumulate_grad_batches=data.n_micro.
    """

    def __init__(self, data: TrainingData) -> None:
        super().__init__()
        self.data = data
        self.seed = data.seed

    def train_dataloader(self) -> Iterator[Any]:
        """This rank's micro batches from the trainer's global step on, without end.

        UserError when they do not divide over the devices.
        """
        trainer, data = self.trainer, self.data
        if trainer is None:
            raise RuntimeError(
                f"{type(self).__name__} serves a Lightning trainer; without one call `batch` of its data"
            )
        data.require_parts(trainer.world_size)
        return (
            data.batch(step, trainer.global_rank, trainer.world_size, micro)
            for step in itertools.count(trainer.global_step)
            for micro in range(data.n_micro)
        )
