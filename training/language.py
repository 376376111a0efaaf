"""Language modelling: the loss of predicting each token from those before it."""

import torch.nn.functional as F
from torch import Tensor

from data.windows import IGNORE, Batch
from training.step import TrainingModule


class LanguageModule(TrainingModule):
    """Next-token prediction with a plain model, tokens (B, N) -> logits (B, N, V)."""

    def nats(self, batch: Batch) -> Tensor:
        logits = self.model(batch.inputs)  # (B, N, V)
        return F.cross_entropy(
            logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
