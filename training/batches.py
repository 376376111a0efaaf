"""The batches of a run as Lightning asks for them."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

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
        batches = (
            data.batch(step, trainer.global_rank, trainer.world_size, micro)
            for step in itertools.count(trainer.global_step)
            for micro in range(data.n_micro)
        )
        return map(pinned, batches) if trainer.strategy.root_device.type == "cuda" else batches

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on a device; the host does not wait for the copy of what is pinned."""
        if device.type == "cpu":
            return batch
        return type(batch)(*(x.to(device, non_blocking=True) if isinstance(x, Tensor) else x for x in batch))


def pinned(batch: Any) -> Any:
    """A batch in memory that a GPU copies from by itself. A batch is a named tuple of tensors and counts."""
    return type(batch)(*(x.pin_memory() if isinstance(x, Tensor) else x for x in batch))
