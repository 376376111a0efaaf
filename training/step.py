"""One optimizer step of any task: rates, accumulation, clipping, and what the meter reads of it.

A task's module adds `nats`, its loss. That loss is a sum over the targets of one micro-batch divided by the targets of
the *global* batch, so gradients summed over micro-batches and devices are exactly those of the whole batch, whatever
its cut.
"""

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LambdaLR

from configs.schema import OptimConfig
from training.build import parameter_groups
from training.schedule import lr_factor

DROPOUT_STREAM = 0x64_72_6F_70  # keeps these seeds apart from any other that is drawn alike

NOTES = ("_current_fx_name", "step_nats", "grad_norm", "lr")  # attributes that are no part of a model


class TrainingModule(L.LightningModule):
    """Trains a plain model, held as `.model`, on batches of `n_micro` micro-batches that have `n_targets`.

    After each optimizer step `step_nats` (0-d, this process's share of the loss, nats per target), `grad_norm`
    (0-d, of the global gradient, before clipping) and `lr` describe it. With `cuda_graphs` the model's passes over
    training batches are captured at the first step and replayed from then on; gradients are then the graph's own
    memory, so n_micro is 1.
    """

    schedule: LambdaLR
    trained: list[nn.Parameter]

    def __init__(
        self, model: nn.Module, optim: OptimConfig, total_steps: int, n_micro: int = 1, cuda_graphs: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.to_capture = cuda_graphs
        self.optim = optim
        self.total_steps = total_steps
        self.n_micro = n_micro
        self.step_nats = torch.zeros(())
        self.grad_norm = torch.zeros(())
        self.lr = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        # A module looks at each value for a parameter, and Lightning sets its note of the hook 40 times a step.
        if name in NOTES:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def nats(self, batch: Any) -> Tensor:
        """Loss of a micro-batch, 0-d with its gradient, in nats: summed over its targets."""
        raise NotImplementedError

    def objective(self, batch: Any) -> tuple[Tensor, Tensor]:
        """What is minimised, and the loss in nats that is reported, each summed over the targets of a micro-batch:
        the same, unless a task regularises.
        """
        nats = self.nats(batch)
        return nats, nats.detach()

    def ends_step(self, batch_idx: int) -> bool:
        """Whether the micro-batch is the last one of its optimizer step."""
        return (batch_idx + 1) % self.n_micro == 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.to_capture:  # here, under the autocast of the step; the shapes of training batches never change
            self.to_capture = False
            torch.cuda.make_graphed_callables(self.model, (batch.inputs,))
        if self.trainer.world_size > 1:
            self._draw_apart(batch_idx % self.n_micro)
        objective, nats = self.objective(batch)
        share = nats / batch.n_targets
        first = batch_idx % self.n_micro == 0
        self.step_nats = share if first else self.step_nats + share
        # Lightning divides by the number of micro-batches and averages gradients over devices; we sum.
        return objective / batch.n_targets * (self.n_micro * self.trainer.world_size)

    def _draw_apart(self, micro: int) -> None:
        """Seed what a process draws in a pass (dropout). Each process draws something else, and what it draws follows
        from its place and the step alone: so a run that is resumed draws what it would have drawn.
        """
        trainer: Any = self.trainer
        place = (trainer.datamodule.seed, trainer.global_step, micro, trainer.global_rank, DROPOUT_STREAM)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def forward(self) -> None:
        """Nothing. It tells what keeps the weights in parts (training/sharded.py) that they are about to be used."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.model, self.optim)
        fused = self.device.type in ("cpu", "cuda")
        assert self.optim.lr is not None  # training/budget.py fills it in
        beta1, beta2 = self.optim.betas
        return torch.optim.AdamW(groups, lr=self.optim.lr, betas=(beta1, beta2), eps=self.optim.eps, fused=fused)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Of Lightning's counts only that of optimizer steps is taken; micro-batches are counted from it.

        What the others say depends on the hook that wrote the checkpoint, and on how long it took an epoch to be.
        """
        steps = "epoch_loop.automatic_optimization.optim_progress"
        checkpoint["loops"] = {"fit_loop": {steps: checkpoint["loops"]["fit_loop"][steps]}}

    def on_train_start(self) -> None:
        """The schedule begins here and is in no checkpoint, because it follows from the global step."""
        (optimizer,) = self.trainer.optimizers
        self.trained = list(self.model.parameters())
        for group in optimizer.param_groups:
            group["initial_lr"] = self.optim.lr * group["lr_scale"]
        self.schedule = LambdaLR(
            optimizer, lambda step: lr_factor(step, self.total_steps, self.optim), self.trainer.global_step - 1
        )

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        group = self.schedule.optimizer.param_groups[0]
        self.lr = group["lr"] / group["lr_scale"]
        super().optimizer_step(*arguments, **options)
        self.schedule.step()

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        # As clip_grad_norm_ does; of weights in parts the norm is put together once, not again to be logged.
        norm = get_total_norm([p.grad for p in self.trained if p.grad is not None])
        self.grad_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        clip_grads_with_norm_(self.trained, self.optim.grad_clip or float("inf"), self.grad_norm)
