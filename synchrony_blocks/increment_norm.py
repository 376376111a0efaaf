"""A norm of the increments that a feed-forward gives to the state (ours; for the transformer known as sandwich norm,
arXiv 2105.13290).
"""

import math

from torch import nn

from synchrony_blocks import checks


def increment_norm(width: int, rms: float | None) -> nn.Module:
    """x (..., width) -> x / rms(x) times a learned gain for each coordinate, which starts at `rms`; None: x.

    Raises ValueError for an `rms` that is not positive and finite.
    """
    if rms is None:
        return nn.Identity()
    checks.number("increment_rms", rms, lambda x: 0 < x < math.inf, "is not positive and finite")
    norm = nn.RMSNorm(width)
    nn.init.constant_(norm.weight, rms)
    return norm
