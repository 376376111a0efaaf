"""Means over seeds, and differences between two models that were trained with the same seeds.

A difference is paired: the runs of one seed see the same windows in the same order, and what that does to both cancels.
Its 95 % interval is Student's t over the seeds' differences: it tells about seeds, not about other text. Our choice.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean over `seeds` shared seeds; `half` is half the width of its 95 % interval, None for a single seed."""

    mean: float
    half: float | None
    seeds: int

    @property
    def verdict(self) -> str:
        """Below or above where the whole interval is; what cannot be told is said."""
        if self.half is None:
            return "one seed"
        if abs(self.mean) <= self.half:
            return "not told apart"
        return "below" if self.mean < 0 else "above"

    def __str__(self) -> str:
        return f"{self.mean:+.4f}" + ("" if self.half is None else f" ± {self.half:.4f}")


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Ours minus theirs over the seeds that both have, each {seed: value}; None when they share none."""
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    differences = [ours[seed] - theirs[seed] for seed in shared]
    return Difference(statistics.mean(differences), half_interval(differences), len(shared))


def compared(ours: Mapping[int, float], theirs: Mapping[int, float], wanted: int) -> str:
    """Their paired difference and what it tells, with how many of the wanted pairs there are where some lack."""
    difference = paired(ours, theirs)
    if difference is None:
        return ""
    text = f"{difference} {difference.verdict}"
    return text if difference.seeds == wanted else f"{text} ({difference.seeds} of {wanted} pairs)"


def half_interval(values: list[float]) -> float | None:
    """Half the width of the 95 % t interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def spread(values: Mapping[int, float], wanted: int, digits: int = 4) -> str:
    """`mean ± sample standard deviation` over seeds, with how many of the wanted seeds there are where some lack."""
    if not values:
        return "not run"
    found = list(values.values())
    text = f"{statistics.mean(found):.{digits}f}"
    if len(found) > 1:
        text += f" ± {statistics.stdev(found):.{digits}f}"
    return text if len(found) == wanted else f"{text} ({len(found)} of {wanted} seeds)"
