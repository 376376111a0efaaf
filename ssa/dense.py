"""Synchronization attention from whole matrices, with plain autograd: O(N^2) memory.

For comparison, for small sequences and for what has to follow every operation (`synchrony_blocks.transforms`);
`ssa.chunked` is what trains. Source: arXiv 2602.14445 and `ssa.synchrony`.
"""

import torch
from torch import Tensor

from ssa import synchrony


def capped_root(y: Tensor, cap: float) -> Tensor:
    """sqrt(y), 0 for y <= 0, with the slope min(1 / (2 sqrt(y)), cap)."""
    steep = (y > 0) & (y < 0.25 / cap**2)
    line = cap * y  # has the slope, but not the value
    moved = line + (synchrony.plain_root(y) - line).detach()
    return torch.where(steep, moved, synchrony.smooth_root(torch.where(steep, 0.0, y)))


def synchronize_dense(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    *,
    causal: bool,
    key_mask: Tensor | None = None,
    cap: float | None = 5.0,
    top_k: int | None = None,
    floor: float = 0.0,
) -> Tensor:
    """out (G, N, W) as `ssa.chunked.synchronize` gives it, whose arguments it takes."""
    u = synchrony.mismatch(q, q if k is None else k)
    allowed = torch.ones(u.shape[1:], dtype=torch.bool, device=u.device)
    if k is None:
        u = u.masked_fill(torch.eye(u.shape[1], dtype=torch.bool, device=u.device), 0)
    if causal:
        allowed = allowed.tril()
    if key_mask is not None:
        allowed = allowed & key_mask[:, None, :]
    root = synchrony.smooth_root if cap is None else lambda y: capped_root(y, cap)
    inverse_rho, cos_theta = inverse_rho.to(u.dtype)[..., None], cos_theta.to(u.dtype)[:, None, None]
    S, _, _ = synchrony.strength_and_parts(u, inverse_rho, cos_theta, root)
    return synchrony.mixing_weights(S * allowed, top_k, floor).to(v.dtype) @ v
