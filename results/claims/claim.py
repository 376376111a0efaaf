"""What a claim is, and what a check of it must offer.

A verdict comes from records of the claim's own protocol alone: the runs of the profile `paper` of its sweep, on its
corpus by content, all seeds. What other runs say about the same question is given beside it, as the nearest of ours.

Statuses. `reproduced`: every 95 % interval lies wholly on the claimed side. `not reproduced`: one or more lie wholly on
the other side, or outside the tolerance. `inconclusive`: neither; the claim was tested and these runs cannot tell.
`not run`: records are missing. `not comparable`: the protocol of the claim is not known, or no run of ours could follow
it. A level depends on context, batch and how windows are cut, so it is judged only where its source states them.
Differences and orders are claims of their own: they depend on these too where one model copies better than the other.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from results.claims.sources import Sources
from results.claims.verdict import Verdict

Text = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """Plain values of exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Value(Strict):
    """A number as its source states it, and what it is a number of."""

    subject: Text
    value: float
    spread: float | None

    def __str__(self) -> str:
        text = f"{self.value:,g}"
        digits = len(text.partition(".")[2])
        return f"{self.subject} {text}" + ("" if self.spread is None else f" ± {self.spread:.{digits}f}")


class StatedProtocol(Strict):
    """What the number measures, as its source states it; of context, batch and windows None where it does not."""

    corpus: Text
    split: Text
    size: Text
    training: Text
    context: int | None = None  # tokens
    batch: int | None = None  # windows
    windows: Text | None = None  # "reset", or "sliding" with the stride

    def __str__(self) -> str:
        parts = [part for part in (self.corpus, self.split, self.size, self.training) if part != "none"]
        known = [part for part in parts if part != "not stated"]
        numbers = {"context": self.context, "batch": self.batch, "windows": self.windows}
        added = [f"{name} {value}" for name, value in numbers.items() if value is not None]
        return ", ".join(known + added + ["the rest not stated"] * (len(known) < len(parts))) if known else "not stated"


class Hindered(Strict):
    """Why a claim cannot be judged."""

    status: Literal["not run", "not comparable"]
    because: Text


class Stated(Strict):
    """A claim as its source states it; claims.yaml says what each key holds."""

    id: Text
    table: Text
    source: Text
    states: Text
    values: list[Value]
    unit: Text
    protocol: StatedProtocol
    tolerance: float | None
    note: Text
    hindered: Hindered | None


class Check(Strict, ABC):
    """What our records hold on the question of a claim."""

    @abstractmethod
    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        """What runs of other protocols say about the same question, each with numbers and protocol."""


class Judge(Check):
    """A check that can judge the claim too."""

    def fault(self, claim: Stated) -> str | None:
        """What the claim lacks for this check to judge it."""
        return None

    @abstractmethod
    def verdict(self, claim: Stated, sources: Sources) -> Verdict:
        """What runs of the claim's own protocol say to it."""
