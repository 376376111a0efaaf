"""What a person sees while a run trains: loss, speed and time left."""

import contextlib
import sys
import time
from typing import Any

from training.announce import duration
from training.meter import Row
from training.units import BITS_PER_BYTE, Unit

LINE_EVERY = 10.0  # seconds between lines where there is no terminal
SMOOTHING = 0.98  # of the displayed training loss: weight of a step over that of the step after it


class Progress:
    """A live bar on a terminal's stderr, a plain line now and then elsewhere, nothing when not `shown`."""

    def __init__(self, total_steps: int, shown: bool, unit: Unit = BITS_PER_BYTE) -> None:
        self.total_steps = total_steps
        self.shown = shown
        self.unit = unit
        self._loss, self._weight = 0.0, 0.0  # weighted sum of the training loss, and sum of its weights
        self._validation = "-"
        self._started: tuple[float, int] | None = None  # when, and at which step
        self._last_line = time.monotonic()
        self._bar: Any = None  # rich.progress.Progress
        self._training: Any = None
        self._validating: Any = None

    def start(self, step: int, last_validation: float | None) -> None:
        """Show the state the run starts or resumes from. `last_validation`: in the unit."""
        self._started = (time.monotonic(), step)
        if last_validation is not None:
            self._validation = f"{last_validation:.3f}"
        if self.shown and sys.stderr.isatty():
            self._start_bar(step)

    def _start_bar(self, step: int) -> None:
        try:
            from rich import progress
            from rich.console import Console
        except ImportError:
            return  # a terminal, too, can be told by plain lines
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=8),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[text]}"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._training = self._bar.add_task("train", total=self.total_steps, completed=step, text="")
        self._bar.start()

    def step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """One optimizer step is done; loss: that of training, in the unit."""
        if not self.shown:
            return
        self._loss = SMOOTHING * self._loss + loss
        self._weight = SMOOTHING * self._weight + 1
        mean, speed = self._loss / self._weight, tokens_per_second / 1000
        # Short enough for a terminal of 80 columns.
        text = f"{mean:.3f} {self.unit.short} · val {self._validation} · {speed:.1f}k tok/s"
        if self._bar is not None:
            self._bar.update(self._training, completed=step, text=text)
        elif time.monotonic() - self._last_line >= LINE_EVERY or step == self.total_steps:
            self._line(f"step {step}/{self.total_steps} · {text} · {self._left(step)} left")

    def validation(self, done: int, total: int) -> None:
        """Some targets of a validation are done."""
        if not self.shown:
            return
        if self._bar is None:
            if time.monotonic() - self._last_line >= LINE_EVERY:
                self._line(f"validation {done:,}/{total:,} targets")
            return
        if self._validating is None:
            self._validating = self._bar.add_task("val", total=total, text="targets of the validation")
        self._bar.update(self._validating, completed=done)

    def row(self, row: Row) -> None:
        """A row of the record; of a validation its result is shown."""
        if row["split"] != "validation":
            return
        self._validation = f"{row[self.unit.key]:.3f}"
        if self._bar is not None and self._validating is not None:
            self._bar.remove_task(self._validating)
            self._validating = None
        if self.shown and self._bar is None:
            accuracy = f" · accuracy {row['accuracy']:.4f}" if "accuracy" in row else ""
            loss = f"{row[self.unit.key]:.4f} {self.unit.short}"
            self._line(f"step {row['step']}/{self.total_steps} · validation {loss}{accuracy}")

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        with contextlib.suppress(OSError):  # whoever read it has gone; that ends no run
            print(text, file=sys.stderr, flush=True)

    def _left(self, step: int) -> str:
        """Time left at the pace since the start."""
        if self._started is None or step <= self._started[1]:
            return "?"
        pace = (time.monotonic() - self._started[0]) / (step - self._started[1])
        return duration(pace * (self.total_steps - step))
