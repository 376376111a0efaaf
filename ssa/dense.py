"""Synchronization attention from whole matrices, with plain autograd except for the cap: O(N^2) memory, three lines.

For comparison and for small sequences; `ssa.chunked` is what trains. Source: arXiv 2602.14445 and `ssa.synchrony`.
"""

from typing import Any

import torch
from torch import Tensor

from ssa import synchrony


class _CappedRoot(torch.autograd.Function):
    """sqrt(y), 0 for y <= 0, with the slope min(1 / (2 sqrt(y)), cap)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, cap: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.cap = cap
        return y.clamp_min(0).sqrt()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        positive = y > 0
        slope = (0.5 / torch.where(positive, y, 1.0).sqrt()).clamp_max(ctx.cap)
        return torch.where(positive, grads[0] * slope, 0.0), None


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
    root = synchrony.smooth_root if cap is None else lambda y: _CappedRoot.apply(y, cap)
    inverse_rho, cos_theta = inverse_rho.to(u.dtype)[..., None], cos_theta.to(u.dtype)[:, None, None]
    S, _, _ = synchrony.strength_and_parts(u, inverse_rho, cos_theta, root)
    return synchrony.mixing_weights(S * allowed, top_k, floor).to(v.dtype) @ v
