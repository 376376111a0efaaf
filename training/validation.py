"""When a run validates, and how a validation becomes a row of the record."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from data.split import Split
from measures.by_head import ByHead, by_head
from measures.loss import evaluate
from measures.word_perplexity import by_word
from training.meter import Row


def is_due(step: int, every: int | None, steps_per_epoch: int, total_steps: int) -> bool:
    """Whether the state after `step` optimizer steps is validated: at the end of an epoch, every `every` steps, and at
    the last step.
    """
    scheduled = every is not None and step % every == 0
    return step > 0 and (scheduled or step % steps_per_epoch == 0 or step == total_steps)


@dataclass
class Validation:
    """Validates at the end of each epoch, every `every` steps, and at the last step.

    The last validation takes the first `last_bytes` bytes of the split, the others `max_bytes` (None: all of it). With
    `text`, the bytes of the split (n,), rows have the perplexity per word too; `of_words`: tokens are words.
    """

    split: Split
    context: int
    precision: str
    steps_per_epoch: int
    total_steps: int
    every: int | None
    max_bytes: int | None
    last_bytes: int | None
    text: np.ndarray | None = None
    of_words: bool = False

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
        result = evaluate(
            model,
            self.split,
            self.context,
            max_bytes=self.last_bytes if step == self.total_steps else self.max_bytes,
            precision=self.precision,
            rank=rank,
            world_size=world_size,
            on_progress=on_progress,
        )
        row: Row = {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "tokens": tokens,
            "split": "validation",
            "nats": result.nats,
            "bits_per_byte": result.bits_per_byte,
            "standard_error": result.standard_error,
            "blocks": result.blocks,
            "targets": result.targets,
            "bytes": result.bytes,
        }
        if self.text is not None:
            row |= by_word(self.text[: result.bytes], self.of_words, result.nats, result.targets)
        if synchrony := self.synchrony(model):
            row["synchrony"] = synchrony
        return row

    def synchrony(self, model: nn.Module) -> ByHead:
        """What the layers report on the first windows of the split; empty for a model whose layers report nothing."""
        return by_head(model, self.split, self.context)
