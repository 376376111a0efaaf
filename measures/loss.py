"""Loss of a model on a split: every byte is a target once, sums are in float64.

Legend: C context, W windows, n_w targets of window w (C, fewer in the last one), L_w their summed loss in nats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from data.windows import IGNORE, Batch, evaluation_batches


@dataclass(frozen=True)
class Evaluation:
    """What a model costs on a split. One token is one byte, so `bits_per_byte` is `nats` / ln 2."""

    nats: float  # per byte
    bits_per_byte: float
    standard_error: float  # of bits_per_byte, over windows; 0 for a single window, of which it cannot be told
    bytes: int
    windows: int


def evaluate(
    model: nn.Module,
    split: np.ndarray,
    context: int,
    batch_size: int = 64,
    max_bytes: int | None = None,
    precision: str = "32",
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Loss of `model` on `split` (n,) uint8, or on its first `max_bytes`, in windows of `context` bytes from byte 0.

    `batch_size` (windows per forward pass) changes speed and memory, not the result. `on_progress(done, total)` is
    told the bytes of this rank. With `world_size` > 1 every rank calls this and all get the result of the whole split.
    """
    sums = torch.zeros(6, dtype=torch.float64, device=next(model.parameters()).device)

    def add(nats: Tensor, batch: Batch) -> None:
        sums.add_(_sums(nats, batch.targets))

    each_batch(add, model, split, context, batch_size, max_bytes, precision, rank, world_size, on_progress)
    if world_size > 1:
        dist.all_reduce(sums)
    return _summary(sums)


def each_batch(
    use: Callable[[Tensor, Batch], None],
    model: nn.Module,
    split: np.ndarray,
    context: int,
    batch_size: int = 64,
    max_bytes: int | None = None,
    precision: str = "32",
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """`use(nats, batch)` for every batch of `evaluate`, in order: nats (W, C) float64 of each byte, 0 where none is.

    All tensors are on the model's device.
    """
    device = next(model.parameters()).device
    n_bytes = len(split) if max_bytes is None else min(max_bytes, len(split))
    was_training = model.training
    model.eval()
    done = 0
    try:
        # Not inference_mode: what a layer keeps from call to call (rotary tables) must stay usable in training.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for batch in evaluation_batches(split, context, batch_size, max_bytes, rank, world_size):
                inputs = batch.inputs.to(device, non_blocking=True)
                targets = batch.targets.to(device, non_blocking=True)
                logits = model(inputs).float().transpose(1, 2)  # (W, V, C)
                nats = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
                use(nats.double(), Batch(inputs, targets, batch.n_targets))
                done += batch.n_targets
                if on_progress is not None:
                    on_progress(done, -(-n_bytes // world_size))
    finally:
        model.train(was_training)


def _sums(nats: Tensor, targets: Tensor) -> Tensor:
    """(W, sum L, sum n, sum L^2, sum L n, sum n^2) of a batch; nats (W, C) float64, targets (W, C)."""
    L = nats.sum(1)
    n = (targets != IGNORE).double().sum(1)
    return torch.stack((torch.ones_like(n).sum(), L.sum(), n.sum(), (L * L).sum(), (L * n).sum(), (n * n).sum()))


def _summary(sums: Tensor) -> Evaluation:
    """Mean loss R = sum L / sum n, and the standard error of a ratio of sums over W independent windows:

    sqrt(W / (W - 1) * sum_w (L_w - R n_w)^2) / sum n, which for windows of one length is that of their mean.
    """
    W, L, n, LL, Ln, nn_ = sums.tolist()
    nats = L / n
    squares = max(LL - 2 * nats * Ln + nats * nats * nn_, 0.0)
    error = math.sqrt(W / (W - 1) * squares) / n if W > 1 else 0.0
    return Evaluation(nats, nats / math.log(2), error / math.log(2), round(n), round(W))
