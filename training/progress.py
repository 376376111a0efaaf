"""How far a run is: a bar or lines for a person, and status.json for other tools."""

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from configs import heartbeat
from configs.command import can_draw
from configs.heartbeat import duration
from training.meter import Row
from training.run_record.status_file import StatusFile
from training.units import BITS_PER_BYTE, Unit

LINE_EVERY = 10.0  # seconds between lines where there is no bar
# The displayed training loss is a mean over about the last tenth of the steps, at most MOST of them: a mean over more
# would lie far above a loss that falls fast, as it does at the start.
SHARE, MOST = 0.1, 50
DROPPED = ("window", "bar", "speed", "validation", "loss")  # in this order where a terminal is narrow
BAR = 8  # characters


class Progress:
    """A live line on a terminal's stderr, a plain line now and then elsewhere, nothing when not `shown`.

    `name`: of the run, shown in plain lines and errors. `status`: the file to keep up to date.
    """

    def __init__(
        self,
        total_steps: int,
        shown: bool,
        unit: Unit = BITS_PER_BYTE,
        name: str = "",
        status: StatusFile | None = None,
    ) -> None:
        self.total_steps = total_steps
        self.shown = shown
        self.unit = unit
        self.name = name
        self.rank = 0
        self.at = 0  # the last step
        self._status = status
        self._loss: float | None = None  # the displayed one
        self._seen = 0  # steps in it
        self._tokens, self._speed = 0, 0.0
        self._train: float | None = None  # of the last rows
        self._validation: float | None = None
        self._validating: tuple[int, int] | None = None  # targets done, and in all
        self._started: tuple[float, int] | None = None  # when, and at which step
        self._last_line = time.monotonic()
        self._live: Any = None  # rich.live.Live

    def start(self, step: int, last_validation: float | None, tokens: int = 0) -> None:
        """Show the state the run starts or resumes from. `last_validation`: in the unit."""
        self._started = (time.monotonic(), step)
        self.at, self._validation, self._tokens = step, last_validation, tokens
        self.doing("the first step")
        self._tell(at_once=True)
        if self._status is not None:
            heartbeat.also(self._status.again)
        if self.shown and can_draw():
            self._start_bar()

    def _start_bar(self) -> None:
        try:
            from rich.console import Console
            from rich.live import Live
            from rich.text import Text
        except ImportError:
            return  # a terminal, too, can be told by plain lines
        # The width is asked for at each drawing: a terminal may be resized.
        console = Console(stderr=True)
        self._live = Live(
            console=console,
            get_renderable=lambda: Text(self._drawn(console.width - 1), no_wrap=True, overflow="crop"),
            refresh_per_second=4,
        )
        self._live.start()
        heartbeat.mute(True)

    def step(self, step: int, losses: Sequence[float], tokens_per_second: float, tokens: int = 0) -> None:
        """One optimizer step is done. losses: of training, in the unit, of the steps that became known with it, which
        may be none; tokens: read so far.
        """
        self.at, self._tokens, self._speed = step, tokens, tokens_per_second
        for loss in losses:
            self._seen += 1
            before = loss if self._loss is None else self._loss
            self._loss = before + (loss - before) / self._window
        self._tell()
        if not self.shown:
            return
        heartbeat.doing(self._named(f"step {step}/{self.total_steps}"))
        late = time.monotonic() - self._last_line >= LINE_EVERY
        if self._live is None and (late or step == self.total_steps):
            self._line(" · ".join(text for name, text in self._parts().items() if name != "bar"))

    def validation(self, done: int, total: int) -> None:
        """Some targets of a validation are done."""
        self._validating = (done, total)
        self._tell()
        if not self.shown:
            return
        text = f"step {self.at}/{self.total_steps} · validation {done:,}/{total:,} targets"
        heartbeat.doing(self._named(text))
        if self._live is None and time.monotonic() - self._last_line >= LINE_EVERY:
            self._line(text)

    def row(self, row: Row) -> None:
        """A row of the record; of a validation its result is shown."""
        if row["split"] == "train":
            self._train = row[self.unit.key]
        if row["split"] != "validation":
            return
        self._validation, self._validating = row[self.unit.key], None
        self._tell(at_once=True)
        if self.shown and self._live is None:
            accuracy = f" · accuracy {row['accuracy']:.4f}" if "accuracy" in row else ""
            loss = f"{row[self.unit.key]:.4f} {self.unit.short}"
            self._line(f"step {row['step']}/{self.total_steps} · validation {loss}{accuracy}")

    def doing(self, what: str) -> None:
        """Something that may take long has begun."""
        if self.shown:
            heartbeat.doing(self._named(f"step {self.at}/{self.total_steps} · {what}"))

    def warn(self, step: int, text: str) -> None:
        """A warning of the run, one line on stderr."""
        with contextlib.suppress(OSError):  # whoever read it has gone; that ends no run
            print(f"warning: {self._named(f'step {step}: {text}')}", file=sys.stderr, flush=True)

    def where(self) -> str:
        """Run, rank and step, for an error."""
        return f"run {self.name}, rank {self.rank}, step {self.at}"

    def stop(self) -> None:
        """Leave the terminal as it was, and tell how the run ended."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            heartbeat.mute(False)
        heartbeat.also(lambda: None)
        self._tell(at_once=True)

    @property
    def _window(self) -> float:
        """About how many steps the displayed loss is a mean of: an exponential mean, which begins with the first
        loss.
        """
        return min(MOST, max(1.0, SHARE * self._seen))

    def _tell(self, at_once: bool = False) -> None:
        if self._status is not None:
            self._status.tell(
                self.at,
                at_once,
                tokens=self._tokens,
                unit=self.unit.short,
                train=self._train,
                validation=self._validation,
                tokens_per_second=self._speed,
                seconds_left=self._seconds_left(),
            )

    def _parts(self) -> dict[str, str]:
        full = round(BAR * self.at / self.total_steps)
        left = self._seconds_left()
        return {
            "bar": f"[{'#' * full}{'.' * (BAR - full)}]",
            "steps": f"step {self.at}/{self.total_steps}",
            "loss": "-" if self._loss is None else f"{self._loss:.3f} {self.unit.short}",
            **({"window": f"mean of {n} steps"} if (n := round(self._window)) > 1 else {}),
            "validation": "val -" if self._validation is None else f"val {self._validation:.3f}",
            "speed": f"{self._speed / 1000:.1f}k tok/s",
            "left": f"{'?' if left is None else duration(left)} left",
        }

    def _drawn(self, width: int) -> str:
        """The live line, and one more while validating, of at most so many characters each where possible."""
        parts = self._parts()
        for name in DROPPED:
            if len(" · ".join(parts.values())) > width:
                parts.pop(name, None)
        lines = [" · ".join(parts.values())]
        if self._validating is not None:
            done, total = self._validating
            lines.append(f"val {done}/{total} targets")
        return "\n".join(lines)

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        heartbeat.spoke()
        with contextlib.suppress(OSError):  # whoever read it has gone; that ends no run
            print(self._named(text), file=sys.stderr, flush=True)

    def _named(self, text: str) -> str:
        return f"{self.name}: {text}" if self.name else text

    def _seconds_left(self) -> float | None:
        """At the pace since the start."""
        if self._started is None or self.at <= self._started[1]:
            return None
        pace = (time.monotonic() - self._started[0]) / (self.at - self._started[1])
        return pace * (self.total_steps - self.at)
