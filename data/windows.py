"""Windows of tokens as batches: pure functions of (seed, epoch, index), so any batch of any epoch can be made again.

Legend: n tokens of a split, C context (tokens a window holds), B windows per batch, q = n // C, r = n % C, s stride.

Our choices. A split begins as if after a newline (a space, where the vocabulary has none), so every token of it is a
target exactly once, the first one too.
A training epoch shifts the cuts by an offset o drawn from {max(1, r), ..., C - 1}: windows [0, o), [o, o + C), ... and
a last one that may be short. Every offset of that range makes q + 1 windows, so all epochs have equally many steps.
Evaluation takes windows [w s, w s + C), of which all but the first add only their last s tokens as targets. With s = C
windows do not overlap, and the first targets of each see little; with a smaller s each sees C - s tokens or more.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.split import IGNORE, Split

EPOCH_STREAM = 0x77_69_6E_64  # keeps these draws apart from any other that is seeded by (seed, epoch)


class Batch(NamedTuple):
    """Rows of one forward pass. Its counts are of the *global* batch, so a sum over its parts can be made a mean."""

    inputs: Tensor  # (rows, C) int64, 0 where there is nothing
    targets: Tensor  # (rows, C) int64, IGNORE where there is nothing
    n_targets: int  # real targets in all micro batches on all ranks
    n_bytes: int  # bytes of text that these stand for


def steps_per_epoch(n_tokens: int, context: int, batch_size: int) -> int:
    """Optimizer steps in which every one of `n_tokens` is a target once; the same in every epoch."""
    return -(-_windows_per_epoch(n_tokens, context) // batch_size)


def training_batch(
    split: Split,
    context: int,
    batch_size: int,
    seed: int,
    epoch: int,
    index: int,
    rank: int = 0,
    world_size: int = 1,
    micro: int = 0,
    n_micro: int = 1,
) -> Batch:
    """Rows (B / n_micro / world_size, C) of step `index` of an epoch: the part of micro batch `micro` that `rank` gets.

    The last step of an epoch is filled up with windows that have no targets, so shapes never change.
    ValueError for an index outside the epoch, or a batch that does not divide evenly.
    """
    if batch_size % (n_micro * world_size):
        raise ValueError(f"a batch of {batch_size} does not divide into {n_micro} micro batches on {world_size} ranks")
    if not 0 <= index < steps_per_epoch(len(split), context, batch_size):
        raise ValueError(f"an epoch of {len(split)} tokens has no step {index}")
    offset, order = _epoch(len(split), context, seed, epoch)
    window = order[index * batch_size : (index + 1) * batch_size]
    start = np.maximum(offset + (window - 1) * context, 0)
    stop = np.minimum(offset + window * context, len(split))
    rows = batch_size // (n_micro * world_size)
    mine = slice((micro * world_size + rank) * rows, (micro * world_size + rank + 1) * rows)
    inputs, targets = _gather(split, context, start[mine], stop[mine], rows)
    n_targets = int((stop - start).sum())
    n_bytes = n_targets
    if split.token_bytes is not None:
        n_bytes = sum(split.n_bytes(*window) for window in zip(start, stop, strict=True))
    return Batch(inputs, targets, n_targets, n_bytes)


def evaluation_windows(n_tokens: int, context: int, stride: int | None = None) -> int:
    """How many windows an evaluation of `n_tokens` takes. ValueError for a stride that would leave tokens out."""
    if stride is not None and not 1 <= stride <= context:
        raise ValueError(f"a stride of {stride} is not between 1 and the context, {context}")
    return 1 + -(-max(0, n_tokens - context) // (stride or context)) if n_tokens else 0


def evaluation_batches(
    split: Split, context: int, batch_size: int, rank: int = 0, world_size: int = 1, stride: int | None = None
) -> Iterator[Batch]:
    """Every token of the split as a target once, in order: rows (at most B, C).

    A rank gets a run of whole windows; the counts of a batch are of it alone. `stride` None: that of the context.
    """
    stride = stride or context
    n_windows = evaluation_windows(len(split), context, stride)
    first, last = n_windows * rank // world_size, n_windows * (rank + 1) // world_size
    for number in range(first, last, batch_size):
        window = np.arange(number, min(number + batch_size, last))
        start = window * stride
        stop = np.minimum(start + context, len(split))
        inputs, targets = _gather(split, context, start, stop, len(start))
        new = np.where(window == 0, 0, start - stride + context)  # the first target that no window before has
        targets[torch.from_numpy(start[:, None] + np.arange(context) < new[:, None])] = IGNORE
        n_bytes = sum(split.n_bytes(*added) for added in zip(new, stop, strict=True))
        yield Batch(inputs, targets, int((stop - new).sum()), n_bytes)


def _windows_per_epoch(n_tokens: int, context: int) -> int:
    if n_tokens < 1 or context < 2:
        raise ValueError(f"windows need at least 1 token and a context of 2, not {n_tokens} and {context}")
    return n_tokens // context + 1


@lru_cache(maxsize=4)
def _epoch(n_tokens: int, context: int, seed: int, epoch: int) -> tuple[int, np.ndarray]:
    """Offset of the cuts and order of the windows in one epoch.

    Only the raw bits are taken from NumPy: these never change between its versions, while the methods of a Generator
    may (NEP 19). Sorting 64-bit draws is a uniform permutation.
    """
    n_windows = _windows_per_epoch(n_tokens, context)
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch, EPOCH_STREAM)))
    low = max(1, n_tokens % context)
    offset = low + int(bits.random_raw()) % (context - low)
    order = np.argsort(bits.random_raw(n_windows), kind="stable")
    order.flags.writeable = False  # it is shared by every batch of the epoch
    return offset, order


def _gather(split: Split, context: int, start: np.ndarray, stop: np.ndarray, rows: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (rows, C) of windows [start, stop); a window's inputs are its targets one token earlier."""
    split.require_whole()
    inputs = np.zeros((rows, context), dtype=np.int64)
    targets = np.full((rows, context), IGNORE, dtype=np.int64)
    position = start[:, None] + np.arange(context)  # (windows, C), of the targets
    real = position < stop[:, None]
    here = np.minimum(position, len(split) - 1)  # any legal place where nothing is real
    np.copyto(targets[: len(start)], split.tokens[here], where=real)
    np.copyto(inputs[: len(start)], split.tokens[np.maximum(here - 1, 0)], where=real)
    inputs[: len(start)][position == 0] = split.follows
    return torch.from_numpy(inputs), torch.from_numpy(targets)
