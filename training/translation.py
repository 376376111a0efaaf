"""Translation: the loss of each token of a translation from the source and those before it, and its validation.

Legend: B pairs, M source tokens, N target tokens, V vocabulary, eps label smoothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from data.translation import TranslationBatch, TranslationData
from data.windows import IGNORE
from measures.bits_per_byte import bits_per_byte
from measures.by_head import ByHead
from measures.statistics import BLOCKS, standard_error
from training.meter import Row
from training.step import TrainingModule


class TranslationModule(TrainingModule):
    """Predicts the tokens of translations with a plain model, source (B, M), inputs (B, N) -> logits (B, N, V).

    What is minimised has labels smoothed by `optim.label_smoothing`: (1 - eps) of the target's nats and eps of the mean
    of all tokens' (arXiv 1512.00567, section 7). The loss that is told is without it.
    """

    def objective(self, batch: TranslationBatch) -> tuple[Tensor, Tensor]:
        logits = self.model(batch.source, batch.inputs, batch.source_mask).flatten(0, 1).float()
        targets = batch.targets.flatten()
        nats = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
        eps = self.optim.label_smoothing
        if eps == 0:
            return nats, nats.detach()
        real = targets != IGNORE
        of_all = (logits.logsumexp(-1) - logits.mean(-1)) * real
        return (1 - eps) * nats + eps * of_all.sum(), nats.detach()


@dataclass
class TranslationValidation:
    """Validates on all pairs of the split at the end of each epoch, every `every` steps, and at the last step."""

    data: TranslationData
    precision: str
    steps_per_epoch: int
    total_steps: int
    every: int | None
    split: str = "validation"

    @property
    def context(self) -> int:
        """Longest source or target, in tokens."""
        return self.data.context

    def due(self, step: int) -> bool:
        """Whether the state after `step` optimizer steps is validated."""
        if step == 0:
            return False
        scheduled = self.every is not None and step % self.every == 0
        return scheduled or step % self.steps_per_epoch == 0 or step == self.total_steps

    def row(
        self,
        model: nn.Module,
        step: int,
        tokens: int,
        on_progress: Callable[[int, int], None],
        rank: int = 0,
        world_size: int = 1,
    ) -> Row:
        """Validate a model after `step` optimizer steps. All `world_size` processes must call this together."""
        result = evaluate(model, self.data, self.split, self.precision, on_progress, rank, world_size)
        return {"step": step, "epoch": step / self.steps_per_epoch, "tokens": tokens, "split": self.split, **result}

    def synchrony(self, model: nn.Module) -> ByHead:
        """None: what heads report of themselves is of one sequence, and a translator has two."""
        return {}


def evaluate(
    model: nn.Module,
    data: TranslationData,
    split: str,
    precision: str = "32",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    rank: int = 0,
    world_size: int = 1,
) -> dict[str, float | int | None]:
    """Loss of a translator on a split, labels not smoothed, <eos> counted, as a row has it; sums are in float64.

    `standard_error` is of bits per byte, over blocks of neighbouring pairs.
    """
    device = next(model.parameters()).device
    n_pairs = data.parallel.pairs_per_split()[split]
    n_blocks = min(BLOCKS, n_pairs)
    sums = torch.zeros(3, n_blocks, dtype=torch.float64, device=device)  # by block: nats, targets, bytes of text
    was_training, done = model.training, 0
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for batch, pairs, n_bytes in data.evaluation_batches(split, rank, world_size):
                source, inputs, mask, targets = (
                    x.to(device) for x in (batch.source, batch.inputs, batch.source_mask, batch.targets)
                )
                logits = model(source, inputs, mask).float()
                nats = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
                real = targets != IGNORE
                by_pair = torch.stack(
                    (nats.double().sum(1), real.double().sum(1), torch.from_numpy(n_bytes).to(device, torch.float64))
                )
                block = torch.from_numpy(pairs * n_blocks // n_pairs).to(device)
                sums.index_add_(1, block, by_pair)
                done += len(pairs)
                on_progress(done, -(-n_pairs // world_size))
    finally:
        model.train(was_training)
    if world_size > 1:
        dist.all_reduce(sums)
    nats_of, targets_of, bytes_of = sums.cpu().numpy()
    error = standard_error(nats_of, bytes_of) / math.log(2)
    nats_per_target = nats_of.sum() / targets_of.sum()
    return {
        "nats": float(nats_per_target),
        "bits_per_byte": bits_per_byte(nats_per_target, targets_of.sum(), bytes_of.sum()),
        "standard_error": None if math.isnan(error) else float(error),
        "blocks": n_blocks,
        "targets": round(targets_of.sum()),
        "bytes": round(bytes_of.sum()),
    }
