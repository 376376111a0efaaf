"""Loss of a model on a split: every token is a target once, sums are in float64.

Legend: C context, W windows, V vocabulary, K contiguous blocks of windows, n_k targets of block k.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from data.split import Split
from data.windows import IGNORE, Batch, evaluation_batches, evaluation_windows
from measures.bits_per_byte import bits_per_byte
from measures.statistics import block_of_window, standard_error
from synchrony_blocks.decoder import Decoder


@dataclass(frozen=True)
class Evaluation:
    """What a model costs on a split."""

    nats: float  # per target
    bits_per_byte: float  # of the text that the targets stand for
    standard_error: float | None  # of bits_per_byte, over contiguous blocks of text; None where there are under 8
    blocks: int  # that it is over
    targets: int
    bytes: int
    windows: int


def evaluate(
    model: nn.Module,
    split: Split,
    context: int,
    batch_size: int = 64,
    max_bytes: int | None = None,
    precision: str = "32",
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    stride: int | None = None,
) -> Evaluation:
    """Loss of `model` on `split`, or on what lies in its first `max_bytes`, in windows of `context` tokens.

    With a `stride` below the context windows overlap (`data.windows`): each target is scored once, with at least
    context - stride tokens before it. `batch_size` (windows per forward pass) changes speed and memory, not the result.
    `on_progress(done, total)` is told the targets of this rank. With `world_size` > 1 every rank calls this and all get
    the result of the whole split.
    """
    split = split.first_bytes(max_bytes)
    block = block_of_window(evaluation_windows(len(split), context, stride))
    # By block: summed nats, targets, bytes of text.
    sums = torch.zeros(3, int(block[-1]) + 1, dtype=torch.float64, device=next(model.parameters()).device)
    window = len(block) * rank // world_size  # the first of the next batch

    def add(nats: Tensor, batch: Batch) -> None:
        nonlocal window
        real = batch.targets != IGNORE
        n_bytes = split.bytes_of(batch.targets.where(real, 0).cpu().numpy())
        by_window = torch.stack((nats.sum(1), real.double().sum(1), (torch.from_numpy(n_bytes).to(nats) * real).sum(1)))
        here = torch.from_numpy(block[window : window + len(nats)]).to(nats.device)
        sums.index_add_(1, here, by_window)
        window += len(nats)

    each_batch(add, model, split, context, batch_size, precision, rank, world_size, on_progress, stride)
    if world_size > 1:
        dist.all_reduce(sums)
    nats, targets, n_bytes = sums.cpu().numpy()
    error = standard_error(nats, n_bytes) / math.log(2)
    return Evaluation(
        nats=float(nats.sum() / targets.sum()),
        bits_per_byte=bits_per_byte(nats.sum() / targets.sum(), targets.sum(), n_bytes.sum()),
        standard_error=None if math.isnan(error) else error,
        blocks=len(nats),
        targets=round(targets.sum()),
        bytes=round(n_bytes.sum()),
        windows=len(block),
    )


def each_batch(
    use: Callable[[Tensor, Batch], None],
    model: nn.Module,
    split: Split,
    context: int,
    batch_size: int = 64,
    precision: str = "32",
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    stride: int | None = None,
) -> None:
    """`use(nats, batch)` for every batch of `evaluate`, in order: nats (W, C) float64 of each target, 0 where none is.

    All tensors are on the model's device.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    done = 0
    try:
        # Not inference_mode: what a layer keeps from call to call (rotary tables) must stay usable in training.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for batch in evaluation_batches(split, context, batch_size, rank, world_size, stride):
                inputs = batch.inputs.to(device, non_blocking=True)
                targets = batch.targets.to(device, non_blocking=True)
                nats = nats_of(model, inputs, targets)
                use(nats.double(), Batch(inputs, targets, batch.n_targets, batch.n_bytes))
                done += batch.n_targets
                if on_progress is not None:
                    on_progress(done, -(-len(split) // world_size))
    finally:
        model.train(was_training)


def nats_of(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """Loss (W, C) of each target, 0 where none is, from tokens (W, C). What is too much at once is read in parts."""
    if isinstance(model, Decoder) and model.reads_in_parts(inputs.numel()):
        nats: Tensor = model(inputs, targets=targets)
        return nats
    logits = model(inputs).float().transpose(1, 2)  # (W, V, C)
    return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
