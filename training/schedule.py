"""How long a run is, and how large each of its steps: pure functions, so a resumed run follows the same path."""

import math

from configs.errors import UserError
from configs.schema import OptimConfig, TrainerConfig


def total_steps(trainer: TrainerConfig, steps_per_epoch: int | None) -> int:
    """Optimizer steps of the whole run: the smaller of max_steps and, where data has an end (not None), max_epochs.

    UserError when neither is set.
    """
    limits = []
    if trainer.max_steps is not None:
        limits.append(trainer.max_steps)
    if trainer.max_epochs is not None and steps_per_epoch is not None:
        limits.append(trainer.max_epochs * steps_per_epoch)
    if not limits:
        raise UserError("a run needs an end: set trainer.max_steps or trainer.max_epochs")
    return min(limits)


def lr_factor(step: int, total: int, optim: OptimConfig) -> float:
    """Learning rate of update `step` (from 0) as a fraction of the peak.

    Linear warm-up that reaches the peak at its last step, then cosine or linear decay that reaches `final_lr` at the
    last step of the run, or a constant, or "inverse_sqrt", proportional to the inverse square root of the step
    (arXiv 1706.03762), which does not depend on the length of the run.
    """
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "inverse_sqrt":
        return math.sqrt(max(1, optim.warmup_steps) / (step + 1))
    progress = min(1.0, (step + 1 - optim.warmup_steps) / max(1, total - optim.warmup_steps))  # 1 at the last step
    shape = (1 + math.cos(math.pi * progress)) / 2 if optim.schedule == "cosine" else 1 - progress
    return optim.final_lr + (1 - optim.final_lr) * shape
