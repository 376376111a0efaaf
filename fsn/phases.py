"""Features of phases: e^{i m theta} as real pairs, and products with them.

Legend: theta (..., d) phases in rad; d phases, M harmonics. All uses of a phase go through e^{i m theta}, so phases
are never wrapped and need no normalisation.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchrony_blocks.cosine_sine import cosine_sine


class Features(NamedTuple):
    """cos theta and sin theta, each (..., d): computed once for each state and shared by everything that reads it."""

    cos: Tensor
    sin: Tensor

    def joined(self) -> Tensor:
        """[cos theta, sin theta] (..., 2d)."""
        return torch.cat((self.cos, self.sin), dim=-1)


class Observed(nn.Module):
    """What linear maps see of phases: both quadratures, [cos theta, sin theta] (..., 2d), or one (ours),
    cos(theta - beta) (..., d) against a learned reference beta (d,) in rad.

    One is half as wide, so a map of it has more units at equal parameters. All features have a mean square of 1/2.
    Raises ValueError for another number of quadratures than 1 and 2.
    """

    def __init__(self, n_phases: int, quadratures: int) -> None:
        super().__init__()
        if quadratures not in (1, 2):
            raise ValueError(f"quadratures={quadratures} is neither 1 nor 2")
        self.width = quadratures * n_phases
        if quadratures == 1:
            self.reference = nn.Parameter(torch.full((n_phases,), math.pi / 4))
        else:
            self.register_parameter("reference", None)

    def forward(self, state: Features) -> Tensor:
        """Features of theta -> (..., width)."""
        if self.reference is None:
            return state.joined()
        return state.cos * self.reference.cos() + state.sin * self.reference.sin()


def features(theta: Tensor | Features) -> Features:
    """Features of a state theta (..., d) in rad; features as they are."""
    return theta if isinstance(theta, Features) else Features(*cosine_sine(theta))


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


def earlier(x: Tensor) -> Tensor:
    """Slot u takes token u + 1, the last slot takes zeros, along the tokens (..., N, last)."""
    return F.pad(x[..., 1:, :], (0, 0, 0, 1))
