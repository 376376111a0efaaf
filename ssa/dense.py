"""Synchronization attention from whole matrices, with plain autograd: O(N^2) memory, three lines of mathematics.

For comparison and for small sequences; `ssa.chunked` is what trains. Source: arXiv 2602.14445 and `ssa.synchrony`.
"""

import torch
from torch import Tensor

from ssa import synchrony
from ssa.chunked import strongest


def synchronize_dense(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    *,
    causal: bool,
    key_mask: Tensor | None = None,
    top_k: int | None = None,
    floor: float = 0.0,
) -> Tensor:
    """out (G, N, W) as `ssa.chunked.synchronize` gives it, whose arguments it takes, but for the cap: for theta = pi/2
    the gradient at the locking boundary is infinite here, as in the published code.
    """
    u = synchrony.mismatch(q, q if k is None else k)
    allowed = torch.ones(u.shape[1:], dtype=torch.bool, device=u.device)
    if k is None:
        u = u.masked_fill(torch.eye(u.shape[1], dtype=torch.bool, device=u.device), 0)
    if causal:
        allowed = allowed.tril()
    if key_mask is not None:
        allowed = allowed & key_mask[:, None, :]
    S = synchrony.strength(u, inverse_rho.to(u.dtype)[..., None], cos_theta.to(u.dtype)[:, None, None])
    S = strongest(S * allowed, top_k)
    total = S.sum(-1, keepdim=True) + floor
    return (S / torch.where(total > 0, total, 1.0)).to(v.dtype) @ v
