"""Features of phases: e^{i m theta} as real pairs, and products with them.

Legend: theta (..., d) phases in rad; d phases, M harmonics. All uses of a phase go through e^{i m theta}, so phases
are never wrapped and need no normalisation.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Features(NamedTuple):
    """cos theta and sin theta, each (..., d): computed once for each state and shared by everything that reads it."""

    cos: Tensor
    sin: Tensor

    def joined(self) -> Tensor:
        """[cos theta, sin theta] (..., 2d)."""
        return torch.cat((self.cos, self.sin), dim=-1)


def features(theta: Tensor) -> Features:
    """Features of a state theta (..., d) in rad."""
    return Features(theta.cos(), theta.sin())


def harmonics(first: Features, n: int) -> list[Features]:
    """e^{i m theta} for m = 1..n by repeated multiplication with e^{i theta}: no further sine or cosine."""
    powers = [first]
    for _ in range(n - 1):
        last = powers[-1]
        powers.append(
            Features(last.cos * first.cos - last.sin * first.sin, last.cos * first.sin + last.sin * first.cos)
        )
    return powers


def later(x: Tensor) -> Tensor:
    """Slot u takes token u - 1, slot 0 takes zeros, along the tokens (..., N, last)."""
    return F.pad(x[..., :-1, :], (0, 0, 1, 0))
