"""Batches of strings to recall: new ones at every step."""

from typing import NamedTuple

from torch import Tensor

from data.strings import Strings
from data.training_data import WindowData


class StringBatch(NamedTuple):
    """Strings of one forward pass. Its counts are of the *global* batch."""

    inputs: Tensor  # (n, N) int64
    targets: Tensor  # (n, N) int64, IGNORE where nothing is scored
    n_targets: int  # scored symbols in all micro batches on all ranks
    n_tokens: int  # symbols read there


class RecallData(WindowData):
    """Strings of the context's length. UserError as of `WindowData`."""

    place = "data/strings.py"

    def __init__(
        self, strings: Strings, context: int, batch_size: int, seed: int, windows_per_pass: int | None = None
    ) -> None:
        super().__init__(context, batch_size, seed, windows_per_pass)
        self.strings = strings
        self.vocabulary_size = strings.vocabulary_size

    def batch(self, step: int, rank: int, world_size: int, micro: int) -> StringBatch:
        rows = self.batch_size // (self.n_micro * world_size)
        first = step * self.batch_size + (micro * world_size + rank) * rows
        inputs, targets = self.strings.made("train", self.context, first, first + rows, self.seed)
        n_targets = self.batch_size * self.strings.scored(self.context)
        return StringBatch(inputs, targets, n_targets, self.batch_size * self.context)
