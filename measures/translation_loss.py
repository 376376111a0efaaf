"""Loss of a translator on pairs of sentences: every token of a translation is a target once, sums are in float64.

Legend: P pairs, K contiguous blocks of them, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from data.sentence_pairs import SentencePairs
from data.translation_batches import LengthBuckets, translation_batch
from data.windows import IGNORE
from measures.bits_per_byte import bits_per_byte
from measures.statistics import BLOCKS, standard_error
from synchrony_blocks.cross_entropy import cross_entropy

EVALUATED_TOKENS = 2**13  # of a batch, padding counted (our choice)


@dataclass(frozen=True)
class TranslationLoss:
    """What a translator costs on pairs. Targets and bytes count the end of each translation."""

    nats: float  # per target, labels not smoothed
    bits_per_byte: float  # of the translations' text
    standard_error: float | None  # of bits_per_byte, over contiguous blocks of pairs; None where there are under 8
    blocks: int  # that it is over
    targets: int
    bytes: int
    pairs: int


def translation_loss(
    model: nn.Module,
    pairs: SentencePairs,
    precision: str = "32",
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> TranslationLoss:
    """Loss of `model` on `pairs`, given the source and the part of the translation before each token.

    `on_progress(done, total)` is told the pairs of this rank. With `world_size` > 1 every rank calls this and all get
    the result of all pairs.
    """
    device = next(model.parameters()).device
    n_blocks = min(BLOCKS, len(pairs))
    sums = torch.zeros(3, n_blocks, dtype=torch.float64, device=device)  # by block: nats, targets, bytes of text
    translator: Any = model
    vocabulary = len(pairs.token_bytes)
    buckets = LengthBuckets(pairs, EVALUATED_TOKENS)
    was_training, done = model.training, 0
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for index in range(rank, len(buckets), world_size):
                rows = buckets.rows_in_order(index)
                batch = translation_batch(pairs, rows)
                source, mask, inputs, targets = (x.to(device, non_blocking=True) for x in batch[:4])
                nats = cross_entropy(translator.logits, translator.hidden(source, inputs, mask), targets, vocabulary)
                real = batch.targets.numpy() != IGNORE
                n_bytes = np.where(real, pairs.token_bytes[batch.targets.where(batch.targets != IGNORE, 0)], 0).sum(1)
                counts = torch.from_numpy(np.stack((real.sum(1), n_bytes)).astype(np.float64)).to(device)
                block = torch.from_numpy(rows * n_blocks // len(pairs)).to(device)
                sums.index_add_(1, block, torch.cat((nats.double().sum(1)[None], counts)))
                done += len(rows)
                if on_progress is not None:
                    on_progress(done, -(-len(pairs) // world_size))
    finally:
        model.train(was_training)
    if world_size > 1:
        dist.all_reduce(sums)
    nats_of, targets_of, bytes_of = sums.cpu().numpy()
    per_target = float(nats_of.sum() / targets_of.sum())
    error = standard_error(nats_of, bytes_of) / math.log(2)
    return TranslationLoss(
        nats=per_target,
        bits_per_byte=bits_per_byte(per_target, targets_of.sum(), bytes_of.sum()),
        standard_error=None if math.isnan(error) else float(error),
        blocks=n_blocks,
        targets=round(targets_of.sum()),
        bytes=round(bytes_of.sum()),
        pairs=len(pairs),
    )
