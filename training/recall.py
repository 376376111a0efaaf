"""Recall: the loss at the scored symbols of a string, and its validation on strings that are never trained on."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from data.recall import StringBatch
from data.split import Split
from data.strings import Strings
from data.windows import IGNORE
from measures.by_head import WINDOWS, ByHead, by_head
from measures.recall import recall
from training.meter import Row
from training.step import TrainingModule


class RecallModule(TrainingModule):
    """Predicts the scored symbols alone, with a plain model, symbols (n, N) -> logits (n, N, A)."""

    def nats(self, batch: StringBatch) -> Tensor:
        logits = self.model(batch.inputs)
        return F.cross_entropy(
            logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )


@dataclass
class RecallValidation:
    """Validates every `every` steps and at the last step, on the same strings; at the last one on other lengths too."""

    strings: Strings
    context: int
    precision: str
    total_steps: int
    every: int | None

    def due(self, step: int) -> bool:
        """Whether the state after `step` optimizer steps is validated."""
        return step > 0 and (step == self.total_steps or (self.every is not None and step % self.every == 0))

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

        def at(length: int) -> Row:
            n = self.strings.config.strings
            of_length = recall(
                model,
                self.strings,
                length,
                n,
                precision=self.precision,
                rank=rank,
                world_size=world_size,
                on_progress=on_progress,
            )
            return asdict(of_length)

        row: Row = {"step": step, "tokens": tokens, "split": "validation", **at(self.context)}
        if step == self.total_steps and self.strings.config.lengths:
            row["lengths"] = [at(length) for length in self.strings.config.lengths]
        if synchrony := self.synchrony(model):
            row["synchrony"] = synchrony
        return row

    def synchrony(self, model: nn.Module) -> ByHead:
        """What the layers report on the first strings; empty for a model whose layers report nothing."""
        inputs, _ = self.strings.made("validation", self.context, 0, WINDOWS)
        return by_head(model, Split(inputs.flatten().numpy()), self.context)
