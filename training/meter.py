"""What each training step measured: loss, gradient norm, tokens and seconds, averaged into the record's train rows."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor

from configs.errors import UserError
from training.step import TrainingModule
from training.units import BITS_PER_BYTE, Unit

Row = dict[str, Any]


class NonFiniteError(UserError):
    """A metric or a weight stopped being a number; training cannot go on."""


@dataclass
class Sums:
    """What was added up since the last row; `began`: seconds of training before it."""

    steps: int = 0
    nats: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    began: float = 0.0
    n_bytes: int = 0


@dataclass(frozen=True)
class Measured:
    """A step, and its numbers on the device: loss (this process's share) and norm of the gradient, each 0-d."""

    step: int
    n_targets: int
    n_bytes: int
    numbers: tuple[Tensor, Tensor]


class Meter:
    """Measures each step; its counts are part of every checkpoint.

    A row's nats and grad_norm are means over the steps since the row before, of the global batches: all processes count
    the same, so a checkpoint of one goes on in any number of them. A step's numbers stay on the device until a row,
    a checkpoint or a validation is due: no step waits for the device or for other processes to be measured. A number
    that is not finite is told then, with its step, and before a checkpoint is written. Rows have no epoch where the
    data has no end (`steps_per_epoch` None).
    """

    def __init__(
        self, steps_per_epoch: int | None, total_steps: int, log_every: int, unit: Unit = BITS_PER_BYTE
    ) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.unit = unit
        self.total_steps = total_steps
        self.log_every = log_every
        self.tokens = 0
        self._losses: list[float] = []  # read since `losses` was last called
        self._seconds = 0.0
        self._running_since: float | None = None
        self._sums = Sums()
        self._unread: list[Measured] = []
        self._processes = 1

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier parts of a resumed run included, pauses left out."""
        running = 0.0 if self._running_since is None else time.perf_counter() - self._running_since
        return self._seconds + running

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run so far."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def start(self) -> None:
        """Start the clock."""
        self._running_since = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock."""
        self._seconds, self._running_since = self.seconds, None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock, for validation and checkpoints. Reads what is still on the device first.

        All processes must enter this together. Raises NonFiniteError.
        """
        self._read()
        self.stop()
        try:
            yield
        finally:
            self.start()

    def measure(self, trainer: L.Trainer, module: TrainingModule, batch: Any) -> Row | None:
        """Take the numbers of the step just made; a train row every `log_every` steps and at the last one.

        `batch` counts the targets of the global batch, `n_targets`, and what `unit` takes from it.
        All processes must call this together. Raises NonFiniteError.
        """
        step = trainer.global_step
        self.tokens += self.unit.tokens(batch)
        self._sums.tokens += self.unit.tokens(batch)
        self._sums.n_bytes += self.unit.bytes(batch)
        numbers = (module.step_nats, module.grad_norm)
        self._processes = trainer.world_size
        self._unread.append(Measured(step, batch.n_targets, self.unit.bytes(batch), numbers))
        if step % self.log_every and step != self.total_steps:
            return None
        self._read()
        sums, self._sums = self._sums, Sums(began=self.seconds)
        return {
            "step": step,
            **({} if self.steps_per_epoch is None else {"epoch": step / self.steps_per_epoch}),
            "tokens": self.tokens,
            "split": "train",
            **self.unit.losses(sums.nats / sums.steps, sums.tokens, sums.n_bytes),
            "lr": module.lr,
            "grad_norm": sums.grad_norm / sums.steps,
            "tokens_per_second": sums.tokens / max(self._sums.began - sums.began, 1e-9),
        }

    def losses(self) -> list[float]:
        """Of each step whose numbers were read since the last call: its training loss, in the unit."""
        read, self._losses = self._losses, []
        return read

    def _read(self) -> None:
        """Take in the numbers that are still on the device: one copy for all of them."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        nats, grad_norms = (torch.stack(kind) for kind in zip(*(each.numbers for each in unread), strict=True))
        if self._processes > 1:  # each process knows only its own windows' share of the loss
            dist.all_reduce(nats)
        for each, *numbers in zip(unread, *torch.stack((nats, grad_norms)).tolist(), strict=True):
            self._take(each, *numbers)

    def _take(self, measured: Measured, nats: float, grad_norm: float) -> None:
        for name, value in (("training loss", nats), ("gradient norm", grad_norm)):
            if not math.isfinite(value):
                raise NonFiniteError(f"the {name} became {value} at step {measured.step}; try a smaller optim.lr")
        self._losses.append(self.unit.losses(nats, measured.n_targets, measured.n_bytes)[self.unit.key])
        self._sums.nats += nats
        self._sums.grad_norm += grad_norm
        self._sums.steps += 1

    def state_dict(self) -> dict[str, Any]:
        self._read()
        return {"tokens": self.tokens, "seconds": self.seconds, "since_row": list(astuple(self._sums))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tokens, self._seconds = state["tokens"], state["seconds"]
        steps, nats, grad_norm, tokens, began, *n_bytes = state["since_row"]
        # Older checkpoints count no bytes: their tokens are bytes.
        self._sums = Sums(steps, nats, grad_norm, tokens, began, *(n_bytes or [tokens]))
