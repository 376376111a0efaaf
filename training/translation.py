"""Translation: the loss of each token of a translation from the source and those before it, and its validation.

Legend: B pairs, M source tokens, N target tokens, V vocabulary, eps label smoothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from data.sentence_pairs import SentencePairs
from data.translation import TranslationBatch
from measures.by_head import ByHead
from measures.translation_loss import translation_loss
from synchrony_blocks.cross_entropy import smoothed_cross_entropy
from training.meter import Row
from training.step import TrainingModule
from training.validation import is_due


class TranslationModule(TrainingModule):
    """Predicts the tokens of translations with a plain model, source (B, M), inputs (B, N) -> logits (B, N, V).

    What is minimised has labels smoothed by `optim.label_smoothing`. The reported loss is without it.
    """

    def objective(self, batch: TranslationBatch) -> tuple[Tensor, Tensor]:
        arguments = batch.source, batch.inputs, batch.source_mask, batch.targets
        smoothed, nats = smoothed_loss(self.model, *arguments, self.optim.label_smoothing or 0.0)
        return smoothed, nats.detach()


def smoothed_loss(
    translator: Any, source: Tensor, inputs: Tensor, source_mask: Tensor, targets: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Nats with labels smoothed, and without, each 0-d: summed over targets (B, N) of inputs (B, N), source (B, M)."""
    hidden = translator.hidden(source, inputs, source_mask)
    vocabulary = translator.vocabulary_size
    smoothed, nats = smoothed_cross_entropy(translator.logits, hidden, targets, vocabulary, label_smoothing)
    return smoothed.sum(), nats.sum()


@dataclass
class TranslationValidation:
    """Validates on all pairs of the split at the end of each epoch, every `every` steps, and at the last step."""

    pairs: SentencePairs
    context: int  # longest source or target, in tokens
    precision: str
    steps_per_epoch: int
    total_steps: int
    every: int | None

    def due(self, step: int) -> bool:
        """Whether the state after `step` optimizer steps is validated."""
        return is_due(step, self.every, self.steps_per_epoch, self.total_steps)

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
        result = translation_loss(model, self.pairs, self.precision, rank, world_size, on_progress)
        epoch = step / self.steps_per_epoch
        return {"step": step, "epoch": epoch, "tokens": tokens, "split": "validation", **asdict(result)}

    def synchrony(self, model: nn.Module) -> ByHead:
        """None: the measures of heads are of one sequence, and a translator has two."""
        return {}
