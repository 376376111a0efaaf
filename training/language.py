"""Language modelling: the loss, the optimizer and the learning rate of one step.

The loss is a sum over the targets of one micro-batch divided by the targets of the *global* batch, so gradients
summed over micro-batches and devices are exactly those of the whole batch, whatever its cut.
"""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from configs.schema import OptimConfig
from data.windows import IGNORE, Batch
from training.build import parameter_groups
from training.schedule import lr_factor


class LanguageModule(L.LightningModule):
    """Next-byte prediction with a plain model, tokens (B, N) -> logits (B, N, V), held as `.model`.

    After each optimizer step `step_nats` (0-d, this process's share of the loss, nats per token), `grad_norm`
    (0-d, before clipping) and `lr` describe it.
    """

    def __init__(self, model: nn.Module, optim: OptimConfig, total_steps: int, n_micro: int = 1) -> None:
        super().__init__()
        self.model = model
        self.optim = optim
        self.total_steps = total_steps
        self.n_micro = n_micro
        self.step_nats = torch.zeros(())
        self.grad_norm = torch.zeros(())
        self.lr = 0.0

    def ends_step(self, batch_idx: int) -> bool:
        """Whether the micro-batch is the last one of its optimizer step."""
        return (batch_idx + 1) % self.n_micro == 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.model(batch.inputs)  # (B, N, V)
        nats = F.cross_entropy(
            logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        share = nats / batch.n_targets
        first = batch_idx % self.n_micro == 0
        self.step_nats = share.detach() if first else self.step_nats + share.detach()
        # Lightning divides by the number of micro-batches and averages gradients over devices; we sum.
        return share * (self.n_micro * self.trainer.world_size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.model, self.optim)
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.AdamW(
            groups, lr=self.optim.lr, betas=tuple(self.optim.betas), eps=self.optim.eps, fused=fused
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.lr = self.optim.lr * lr_factor(self.trainer.global_step, self.total_steps, self.optim)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * group.get("lr_scale", 1.0)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        limit = self.optim.grad_clip or float("inf")
        self.grad_norm = clip_grad_norm_(self.model.parameters(), limit)
