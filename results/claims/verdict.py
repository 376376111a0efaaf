"""What may be said of a claim."""

from dataclasses import dataclass

STATUSES = ("reproduced", "not reproduced", "not run", "not comparable")


@dataclass(frozen=True)
class Verdict:
    """`status`: one of STATUSES; `ours`: our numbers of the claim's protocol, empty where none are; `why`: in words."""

    status: str
    ours: str
    why: str
