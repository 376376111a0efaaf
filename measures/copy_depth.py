"""Loss of a model by copy depth and distance (measures/longest_match.py): sums over blocks of windows, for the record.

Our choices: depths 0 to 15 apart and 16 or more together; distances in doubling steps, and these for classes of depths;
contiguous blocks of windows (measures/statistics.py), so that two models can be compared block by block.

Legend: K blocks, D depths, G classes of depths, R ranges of distance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from data.split import Split
from data.windows import IGNORE, Batch, evaluation_windows
from measures.longest_match import copy_depth
from measures.loss import each_batch
from measures.statistics import block_of_window

DEPTHS = tuple(range(17))  # where bins begin; each ends before the next
CLASSES = (0, 1, 4, 8, 16)
DISTANCES = (1, 3, 5, 9, 17, 33, 65, 129, 257)
DECIMALS = 4  # of sums of nats in a record


def labels(starts: tuple[int, ...]) -> list[str]:
    """Names of bins by their starts: 0, 1-3, 4-7, ..., and 16+ for the last."""
    ends = [next_start - 1 for next_start in starts[1:]]
    names = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=False)]
    return [*names, f"{starts[-1]}+"]


@dataclass(frozen=True)
class CopyDepthLoss:
    """Bytes, and sums of their nats, by block and depth (K, D) and by block, class and distance (K, G - 1, R).

    The second pair leaves out depth 0, which has no distance. counts int64, nats float64.
    """

    counts: np.ndarray
    nats: np.ndarray
    distance_counts: np.ndarray
    distance_nats: np.ndarray

    @property
    def bytes(self) -> int:
        return int(self.counts.sum())

    def entry(self) -> dict[str, Any]:
        """As plain JSON, sums of nats rounded to 4 decimals. Rows are blocks; under by_distance, blocks by class."""
        return {
            "bytes": self.bytes,
            "depths": labels(DEPTHS),
            "distances": labels(DISTANCES),
            "counts": self.counts.tolist(),
            "nats": self.nats.round(DECIMALS).tolist(),
            "by_distance": {
                "depths": labels(CLASSES)[1:],
                "counts": self.distance_counts.tolist(),
                "nats": self.distance_nats.round(DECIMALS).tolist(),
            },
        }


def by_copy_depth(
    model: nn.Module,
    split: Split,
    context: int,
    batch_size: int = 64,
    max_bytes: int | None = None,
    precision: str = "32",
    on_progress: Callable[[int, int], None] | None = None,
) -> CopyDepthLoss:
    """Loss of the targets and windows that `measures.loss.evaluate` takes; its arguments. Depths are in tokens."""
    split = split.first_bytes(max_bytes)
    block_of = block_of_window(evaluation_windows(len(split), context))
    blocks = int(block_of[-1]) + 1
    by_depth = _Sums((blocks, len(DEPTHS)))
    by_distance = _Sums((blocks, len(CLASSES), len(DISTANCES) + 1))  # what has no distance comes first
    first = 0  # window of the batch

    def add(nats_: Any, batch: Batch) -> None:
        nonlocal first
        nats, inputs, targets = (x.cpu().numpy() for x in (nats_, batch.inputs, batch.targets))
        real = targets != IGNORE
        n_bytes = split.bytes_of(targets[real])
        block = np.broadcast_to(block_of[first : first + len(inputs), None], real.shape)[real]
        first += len(inputs)
        depth, distance = np.concatenate([copy_depth(row[here]) for row, here in zip(inputs, real, strict=True)], 1)
        by_depth.add((block, _bin(depth, DEPTHS)), n_bytes, nats[real])
        by_distance.add((block, _bin(depth, CLASSES), _bin(distance, DISTANCES) + 1), n_bytes, nats[real])

    each_batch(add, model, split, context, batch_size, precision, on_progress=on_progress)
    known = np.s_[:, 1:, 1:]  # a depth and a distance
    return CopyDepthLoss(by_depth.counts, by_depth.sums, by_distance.counts[known], by_distance.sums[known])


def _bin(values: np.ndarray, starts: tuple[int, ...]) -> np.ndarray:
    """Index of the bin that holds each value; -1 below the first."""
    return np.searchsorted(starts, values, side="right") - 1


class _Sums:
    """Bytes of text, and float64 sums of the nats that they cost, in the cells of an array."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.counts, self.sums = np.zeros(shape, dtype=np.int64), np.zeros(shape)

    def add(self, cells: tuple[np.ndarray, ...], n_bytes: np.ndarray, nats: np.ndarray) -> None:
        np.add.at(self.counts, cells, n_bytes)
        np.add.at(self.sums, cells, nats)
