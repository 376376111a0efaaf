"""What a claim is, what may be said of it, and the records that it is judged from.

A verdict comes from records of the claim's own protocol alone: the runs of the profile `paper` of its sweep, on its
corpus by content, all seeds. What other runs say to the same question stands apart, as the nearest of ours.

Statuses: `reproduced` and `not reproduced` come from such records. A difference whose interval includes zero is not
told apart: the claim was put to the test and not confirmed, so it is `not reproduced`, and `why` says that nothing
contradicts it. `not run`: records are missing. `not comparable`: the protocol of the claim is not known, or no run of
ours could follow it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from results.claims.sources import Sources
from results.claims.verdict import Verdict


@dataclass(frozen=True)
class Value:
    """A number as its source states it."""

    of: str
    value: float
    spread: float | None

    def __str__(self) -> str:
        text = f"{self.value:,}" if abs(self.value) >= 1000 else f"{self.value:g}"
        digits = len(text.partition(".")[2])
        return f"{self.of} {text}" + ("" if self.spread is None else f" ± {self.spread:.{digits}f}")


@dataclass(frozen=True)
class StatedProtocol:
    """What the number is a number of, as its source states it."""

    corpus: str
    split: str
    size: str
    training: str

    def __str__(self) -> str:
        parts = [part for part in (self.corpus, self.split, self.size, self.training) if part != "none"]
        known = [part for part in parts if part != "not stated"]
        return ", ".join(known + ["the rest not stated"] * (len(known) < len(parts))) if known else "not stated"


@dataclass(frozen=True)
class Hindered:
    """Why a claim cannot be judged."""

    status: str
    because: str


@dataclass(frozen=True)
class Claim:
    """One claim; claims.yaml says what each key holds."""

    id: str
    table: str
    source: str
    states: str
    values: tuple[Value, ...]
    unit: str
    protocol: StatedProtocol
    tolerance: float | None
    note: str
    hindered: Hindered | None
    check: "Check | None"


@dataclass(frozen=True)
class Check(ABC):
    """What our records hold on the question of a claim."""

    @abstractmethod
    def nearest(self, claim: Claim, sources: "Sources") -> list[str]:
        """What runs of other protocols say to the same question, each with numbers and protocol."""


@dataclass(frozen=True)
class Judge(Check):
    """A check that can judge the claim too."""

    def fault(self, claim: Claim) -> str | None:
        """What the claim lacks for this check to judge it."""
        return None

    @abstractmethod
    def verdict(self, claim: Claim, sources: "Sources") -> Verdict:
        """What runs of the claim's own protocol say to it."""
