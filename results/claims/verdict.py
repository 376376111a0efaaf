"""What may be said of a claim, and the one rule by which 95 % intervals decide it."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan

from measures.statistics import Estimate

STATUSES = ("reproduced", "not reproduced", "inconclusive", "not run", "not comparable")
SIGNIFICANT = ("below", "above", "within", "outside")  # sides that a whole interval lies on
AT_THE_EDGE = "neither within nor outside"


@dataclass(frozen=True)
class Verdict:
    """`status`: one of STATUSES; `ours`: our numbers of the claim's protocol, empty where none are; `why`: in words."""

    status: str
    ours: str
    why: str


def status_of(sides: Iterable[str], claimed: str) -> str:
    """What the sides of all intervals say of a claimed side. Our choice.

    "reproduced" where all are on it, "not reproduced" where one or more are significantly on another, else
    "inconclusive". Each interval has its own 95 %, so of twenty that do not differ one is significant by chance.
    """
    sides = set(sides)
    if sides == {claimed}:
        return "reproduced"
    return "not reproduced" if sides & set(SIGNIFICANT) - {claimed} else "inconclusive"


def side_of_band(estimate: Estimate, center: float, tolerance: float) -> str:
    """ "within" or "outside" center ± tolerance where the whole interval is, else that it is neither."""
    distance = abs(estimate.value - center)
    if isnan(estimate.half_width):
        return estimate.side
    if distance + estimate.half_width <= tolerance:
        return "within"
    return "outside" if distance - estimate.half_width > tolerance else AT_THE_EDGE
