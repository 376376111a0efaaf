"""The operator as the author published it, flaws included, so that what is said of it can be checked.

Source: arXiv 2602.14445 and the equations of the author's implementation, none of whose code is here.
"""

import math

import torch
from torch import Tensor, nn

from ssa import synchrony
from ssa.attention import SelectiveSynchronizationAttention
from ssa.start import Start


def published(d_model: int, n_heads: int, top_k: int | None = None) -> SelectiveSynchronizationAttention:
    """The operator as the author published it: (B, N, D) -> (B, N, D), bidirectional.

    theta = pi/2, an order parameter of the whole sequence, no positional part, PyTorch's own initial weights, alpha = K
    = 1. Three things follow, which tests show: r knows the future, the layer is permutation-equivariant, and at the
    start a token is locked to itself alone. The cap on the slope at the boundary is off, as in plain autograd.
    """
    return SelectiveSynchronizationAttention(
        d_model,
        n_heads,
        causal=False,
        positions=None,
        start=Start(theta=math.pi / 2, calibrated=False),
        learn_theta=False,
        top_k=top_k,
        cap=None,
        floor=0.0,
    )


class PublishedSteps(nn.Module):
    """The published operator from its three steps: mismatch and coupling, phase difference, strength."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.layer = published(d_model, n_heads)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D), bidirectional."""
        layer = self.layer
        omega = layer.frequencies(x)
        squares = omega.square().sum(-1)
        # (B, H, N, N), as is all that follows
        Delta2 = squares[..., :, None] + squares[..., None, :] - 2 * omega @ omega.mT
        Delta2 = Delta2.clamp_min(0).masked_fill(torch.eye(x.shape[1], dtype=torch.bool, device=x.device), 0)
        J = torch.exp(-layer.alpha[:, None, None] * Delta2)
        reach = layer.K[:, None, None] * layer.order_parameter(x)[..., None]
        sin = Delta2.clamp_min(synchrony.TINY).sqrt() / (reach * J).clamp_min(synchrony.TINY)
        S = torch.where(sin < 1, J * (1 - sin.clamp(max=1).square()).clamp_min(synchrony.TINY).sqrt(), 0.0)
        mixed = S / S.sum(-1, keepdim=True) @ layer.value(x).unflatten(-1, (layer.n_heads, -1)).transpose(1, 2)
        return layer.out(mixed.transpose(1, 2).flatten(2))
