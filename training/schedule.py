"""The length of a run, and the size of each of its steps: pure functions, so a resumed run follows the same path."""

import math

from configs.errors import UserError
from configs.schema import OptimConfig, TrainerConfig

VALIDATIONS = 5  # of a run that is not asked to validate and ends within an epoch
# First bytes of the split that each of them but the last takes, so that they cost little (our choice).
GLANCE = 100_000


def total_steps(trainer: TrainerConfig, steps_per_epoch: int | None) -> int:
    """Optimizer steps of the whole run: max_steps, which takes precedence where it is set; else max_epochs, where data
    has an end.

    `max_epochs` comes with every preset of `trainer`, and must not cut a run whose steps are typed.
    UserError when neither is set.
    """
    if trainer.max_steps is not None:
        return trainer.max_steps
    if trainer.max_epochs is not None and steps_per_epoch is not None:
        return trainer.max_epochs * steps_per_epoch
    raise UserError("a run needs an end: set trainer.max_steps or trainer.max_epochs")


def validation_interval(every: int | None, steps_per_epoch: int | None, total: int) -> int | None:
    """Steps between validations besides those at the end of an epoch: as asked; where nothing is asked and no epoch
    ends before the run does, a fifth of the run (our choice).
    """
    if every is not None or (steps_per_epoch is not None and steps_per_epoch < total):
        return every
    return math.ceil(total / VALIDATIONS)


def glanced_bytes(trainer: TrainerConfig, steps_per_epoch: int | None, total: int) -> int | None:
    """First bytes of the split that validations before the last take; None: all."""
    own = trainer.val_every is None and validation_interval(None, steps_per_epoch, total) is not None
    return GLANCE if own and trainer.val_bytes is None else trainer.val_bytes


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
