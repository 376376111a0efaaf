"""Where a layer starts: alpha and K set so that a chosen share of pairs locks. Our choice.

At the published start no two different tokens are locked: each attends to itself alone, and no gradient says
otherwise.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssa import synchrony

if TYPE_CHECKING:
    from ssa.attention import SelectiveSynchronizationAttention

RHO = 4.0  # alpha (K r)^2 at the mean r: S then ends at u* = 0.80 for theta = pi/2


@torch.no_grad()
def calibrate(layer: "SelectiveSynchronizationAttention", x: Tensor) -> None:
    """Set alpha and K so that `layer.locked_fraction` of the pairs of x (B, N, D) lock in each head.

    A pair locks where alpha Delta2_ij < u*_i, so alpha is a quantile of u*_i / Delta2_ij; K keeps alpha (K r)^2
    at RHO.
    """
    Delta2 = synchrony.mismatch(layer.frequencies(x, query=True), layer.frequencies(x))
    r = layer.order_parameter(x).expand(*Delta2.shape[:3])
    N = x.shape[1]
    pairs = torch.ones(N, N, dtype=torch.bool, device=x.device).tril(-1)
    if not layer.causal:
        pairs = pairs | pairs.T
    for h in range(layer.n_heads):
        level = r[:, h].mean()
        radius = synchrony.locking_radius(1.0, RHO**0.5 / level, r[:, h], layer.theta[h]).square().to(Delta2)  # u*_i
        ratio = (radius[..., None] / Delta2[:, h].clamp_min(synchrony.TINY))[:, pairs].flatten()
        alpha = ratio.kthvalue(1 + int((1 - layer.locked_fraction) * (len(ratio) - 1))).values
        layer.log_alpha[h] = alpha.log()
        layer.log_K[h] = (RHO / alpha).sqrt().div(level).log()
    set_coupling(layer)


@torch.no_grad()
def set_coupling(layer: "SelectiveSynchronizationAttention") -> None:
    """Set alpha and K of every head to those that the layer was asked for, if any."""
    for parameter, asked in ((layer.log_alpha, layer.start_alpha), (layer.log_K, layer.start_K)):
        if asked is not None:
            parameter.fill_(math.log(asked))
