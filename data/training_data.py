"""The batches of a run for Lightning: which ones come next follows from the global step alone."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning

from configs.errors import UserError


class TrainingData(lightning.LightningDataModule):
    """Training batches of `batch_size` rows of `context` tokens, over all devices.

    `windows_per_pass` rows (over all devices; None: the whole batch) go through the model at a time, so `n_micro`
    batches of the loader make one optimizer step: give the trainer accumulate_grad_batches=n_micro.
    UserError for a micro batch that does not divide the batch, a negative seed. A task adds `batch`, its vocabulary
    and, where its data ends, `steps_per_epoch`.
    """

    steps_per_epoch: int | None = None  # None: the data has no end
    vocabulary_size: int
    place: str  # where the data lies or comes from, for errors
    tokenizer_file: bytes | None = None  # tokenizer.json, where tokens are made by one

    def __init__(self, context: int, batch_size: int, seed: int, windows_per_pass: int | None = None) -> None:
        super().__init__()
        micro = batch_size if windows_per_pass is None else windows_per_pass
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is not a batch; give at least 1")
        if micro < 1 or batch_size % micro:
            raise UserError(f"windows_per_pass={micro} does not divide batch_size={batch_size}; give a divisor of it")
        if seed < 0:
            raise UserError(f"seed={seed} is negative; give 0 or more")
        self.context = context
        self.batch_size = batch_size
        self.seed = seed
        self.windows_per_pass = micro
        self.n_micro = batch_size // micro

    def batch(self, step: int, rank: int, world_size: int, micro: int) -> Any:
        """The part of micro batch `micro` of an optimizer step that `rank` gets."""
        raise NotImplementedError

    def train_dataloader(self) -> Iterator[Any]:
        """This rank's micro batches from the trainer's global step on, without end.

        UserError when they do not divide over the devices.
        """
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError(f"{type(self).__name__} serves a Lightning trainer; without one call its `batch`")
        if self.windows_per_pass % trainer.world_size:
            raise UserError(
                f"{self.windows_per_pass} windows per pass do not divide over {trainer.world_size} devices; "
                "change batch_size, trainer.micro_batch_size or trainer.devices"
            )
        return (
            self.batch(step, trainer.global_rank, trainer.world_size, micro)
            for step in itertools.count(trainer.global_step)
            for micro in range(self.n_micro)
        )
