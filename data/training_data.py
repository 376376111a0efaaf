"""The batches of a run: which ones come next follows from the global step alone."""

from typing import Any

from configs.counted import counted
from configs.errors import UserError


class TrainingData:
    """Training batches of sequences of at most `context` tokens.

    `n_micro` of them make one optimizer step; `training.batches` has them in their order.
    UserError for a negative seed. A task adds `batch`, its vocabulary and, where its data ends, `steps_per_epoch`.
    """

    steps_per_epoch: int | None = None  # None: the data has no end
    vocabulary_size: int
    place: str  # where the data lies or comes from, for errors
    tokenizer_file: bytes | None = None  # tokenizer.json, where tokens are made by one

    def __init__(self, context: int, seed: int, n_micro: int = 1) -> None:
        if seed < 0:
            raise UserError(f"seed={seed} is negative; give 0 or more")
        self.context = context
        self.seed = seed
        self.n_micro = n_micro

    def batch(self, step: int, rank: int, world_size: int, micro: int) -> Any:
        """The part of micro batch `micro` of an optimizer step that `rank` gets."""
        raise NotImplementedError

    def require_parts(self, world_size: int) -> None:
        """UserError where batches do not divide over so many devices."""


class WindowData(TrainingData):
    """Training batches of `batch_size` rows of `context` tokens, over all devices.

    `windows_per_pass` rows (over all devices; None: the whole batch) go through the model at a time.
    UserError for a micro batch that does not divide the batch, and as of `TrainingData`.
    """

    def __init__(self, context: int, batch_size: int, seed: int, windows_per_pass: int | None = None) -> None:
        micro = batch_size if windows_per_pass is None else windows_per_pass
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is not a batch; give at least 1")
        if micro < 1 or batch_size % micro:
            raise UserError(f"windows_per_pass={micro} does not divide batch_size={batch_size}; give a divisor of it")
        super().__init__(context, seed, batch_size // micro)
        self.batch_size = batch_size
        self.windows_per_pass = micro

    def require_parts(self, world_size: int) -> None:
        if self.windows_per_pass % world_size:
            raise UserError(
                f"{counted(self.windows_per_pass, 'window')} in a pass cannot be divided over {world_size} devices; "
                "change batch_size, trainer.micro_batch_size or trainer.devices"
            )
