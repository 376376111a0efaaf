"""What a Selective Synchronization Attention layer does: its pairs and, by head, how much is locked and why."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssa import synchrony
from ssa.chunked import strongest

if TYPE_CHECKING:
    from ssa.attention import SelectiveSynchronizationAttention


@torch.no_grad()
def strengths(
    layer: "SelectiveSynchronizationAttention",
    x: Tensor,
    memory: Tensor | None = None,
    padding_mask: Tensor | None = None,
    offset: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """S (B, H, N, M), which pairs may lock (B, 1, N, M) bool, and r (B, H, N or 1), from dense matrices.

    S is of all that locks, whatever top_k says.

    x (B, N, D), memory (B, M, D), padding_mask (B, M) and offset as for the layer.
    """
    source, causal = (x if memory is None else memory), layer.causal and memory is None
    scale = layer.alpha.sqrt()[:, None, None]
    u = synchrony.mismatch(layer.frequencies(x, True, offset) * scale, layer.frequencies(source) * scale)
    if memory is None and layer.shared:
        u.diagonal(0, 2, 3).zero_()
    r = layer.order_parameter(source, memory is None, padding_mask)
    S = synchrony.strength(u, synchrony.inverse_rho(layer.alpha, layer.K, r)[..., None], layer.cos_theta[:, None, None])
    allowed = torch.ones(len(x), 1, x.shape[1], source.shape[1], dtype=torch.bool, device=x.device)
    if causal:
        allowed = allowed.tril()
    if padding_mask is not None:
        allowed = allowed & padding_mask[:, None, None, :]
        if memory is None:
            allowed = allowed & padding_mask[:, None, :, None]
    return S * allowed, allowed, r


def diagnostics(
    layer: "SelectiveSynchronizationAttention",
    x: Tensor,
    memory: Tensor | None = None,
    padding_mask: Tensor | None = None,
    offset: int = 0,
) -> dict[str, Tensor]:
    """What the layer does with x (our choice of quantities). All detached.

    attention (B, H, N, M): S over its row sum and the floor, with top_k of the strongest; locked_fraction (H,): share
    of the pairs that may lock and do, with top_k too, a token with itself left out; order_parameter (H,): mean r;
    alpha, K, theta, locking_radius (H,), the last at the mean r and in the unit of omega.
    """
    S, allowed, r = strengths(layer, x, memory, padding_mask, offset)
    mixed = strongest(S, layer.top_k)
    total = mixed.sum(-1, keepdim=True) + (0.0 if memory is None and layer.shared else layer.floor)
    pairs = allowed
    if memory is None:
        pairs = allowed & ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    locked = ((S > 0) & pairs).sum((0, 2, 3)) / pairs.sum().clamp_min(1)
    alpha, K, theta, mean = (t.detach() for t in (layer.alpha, layer.K, layer.theta, r.mean((0, 2))))
    return {
        "attention": mixed / torch.where(total > 0, total, 1.0),
        "locked_fraction": locked,
        "order_parameter": mean,
        "alpha": alpha,
        "K": K,
        "theta": theta,
        "locking_radius": synchrony.locking_radius(alpha, K, mean, theta).to(alpha),
    }
