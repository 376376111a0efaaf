"""Language modelling: the loss of predicting each token from those before it."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from data.windows import IGNORE, Batch
from synchrony_blocks.decoder import Decoder
from training.step import TrainingModule


class LanguageModule(TrainingModule):
    """Next-token prediction with a plain model, tokens (B, N) -> logits (B, N, V)."""

    def nats(self, batch: Batch) -> Tensor:
        model: Any = self.model
        if isinstance(model, Decoder) and model.reads_in_parts(batch.inputs.numel()):
            # Through the call, so that a compiled model is compiled here too.
            nats: Tensor = model(batch.inputs, targets=batch.targets)
            return nats.sum()
        logits = self.model(batch.inputs)  # (B, N, V)
        return F.cross_entropy(
            logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
