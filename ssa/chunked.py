"""Synchronization attention in chunks of queries: O(N d) memory, its own backward pass.

    out_i = sum_j S_ij v_j / Z_i       Z_i = sum_j S_ij       S from u_ij = |q_i - k_j|^2 (see ssa/synchrony.py)

q and k are frequencies times sqrt(alpha). S is at most 1, so no running maximum is kept and nothing is rescaled. Only
q, k, v, 1 / rho, out and Z are saved; the backward pass computes S again, chunk by chunk:

    dS_ij = (dout_i . v_j - dout_i . out_i) / Z_i                   on locked pairs, 0 elsewhere
    dy    = dS min(1 / (2 root), cap)                               y = e^{-2u} - u / rho, root = sqrt(y)
    du    = dy (-2 e^{-2u} - 1 / rho) + dS cos(theta) e^{-u}
    dq_i  = 2 sum_j du_ij (q_i - k_j)        dk_j = 2 sum_i du_ij (k_j - q_i)
    d(1 / rho)_i = -sum_j u_ij dy_ij         d cos(theta) = -sum_ij dS_ij e^{-u_ij}

Source: arXiv 2602.14445 for the operator; this form of it and the cap are our choices. For theta = pi/2 the gradient is
infinite at the locking boundary and `cap` bounds it; for a smaller theta it is finite, and None is exact.

Legend: G = B H, N queries, M keys, E frequency width, W value width.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 64  # queries a chunk (our choice)


def synchronize(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    *,
    causal: bool,
    same: bool,
    key_mask: Tensor | None = None,
    cap: float | None = 5.0,
    top_k: int | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """out (G, N, W) from q (G, N, E), k (G, M, E), v (G, M, W), inverse_rho (G, N) and cos_theta (G,).

    `causal` needs N = M and lets query i see keys j <= i. `same`: q and k are the same frequencies, so that the
    mismatch of a token with itself is exactly 0 whatever rounding says. `key_mask` (G, M) bool: True for keys that may
    lock. `top_k` keeps the strongest partners of a query, of equally strong ones the first. A query that locks to
    nothing gets zeros. Halves are computed in float32, also under autocast.

    Where a query need not lock to itself (cross-attention, frequencies of its own), Z may be small and gradients large:
    they grow as 1 / Z, which `cap` does not bound.
    """
    # |q|^2 + |k|^2 - 2 q.k is a small difference of large numbers, all of which must be rounded alike.
    dtype = torch.promote_types(q.dtype, torch.float32)
    # On the meta device operations are counted, by custom over the whole window, the masked half included.
    causal = causal and not q.is_meta
    with torch.autocast(q.device.type if q.device.type != "meta" else "cpu", enabled=False):
        q_, k_, v_, inverse_rho, cos_theta = (x.to(dtype) for x in (q, k, v, inverse_rho, cos_theta))
        out = _Synchronize.apply(q_, k_, v_, inverse_rho, cos_theta, causal, same, key_mask, cap, top_k, chunk)
    return out.to(v.dtype)


class _Synchronize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        inverse_rho: Tensor,
        cos_theta: Tensor,
        causal: bool,
        same: bool,
        key_mask: Tensor | None,
        cap: float | None,
        top_k: int | None,
        chunk: int,
    ) -> Tensor:
        # A common offset would cancel badly in |q|^2 + |k|^2 - 2 q.k. Not the mean: that would know the future.
        centre = k[:, :1]
        q, k = q - centre, k - centre
        out = v.new_empty(*q.shape[:2], v.shape[2])
        Z = q.new_empty(q.shape[:2])
        scores = _Scores(q, k, causal, same, key_mask)
        for start in range(0, q.shape[1], chunk):
            rows = slice(start, min(start + chunk, q.shape[1]))
            u, keys = scores.mismatch(rows)
            S = _strength(u, inverse_rho[:, rows, None], cos_theta[:, None, None])
            S = strongest(scores.masked(S, rows), top_k)
            Z[:, rows] = S.sum(-1)
            out[:, rows] = torch.bmm(S, v[:, keys])
        out = out / torch.where(Z > 0, Z, 1.0)[:, :, None]
        ctx.save_for_backward(q, k, v, inverse_rho, cos_theta, out, Z, key_mask)
        ctx.settings = causal, same, cap, top_k, chunk
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] # its decorators are untyped
        q, k, v, inverse_rho, cos_theta, out, Z, key_mask = ctx.saved_tensors
        causal, same, cap, top_k, chunk = ctx.settings
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad_rho, grad_cos = torch.empty_like(inverse_rho), torch.zeros_like(cos_theta)
        inverse_Z = torch.where(Z > 0, 1 / torch.where(Z > 0, Z, 1.0), 0.0)
        delta = (grad * out).sum(-1)
        scores = _Scores(q, k, causal, same, key_mask)
        for start in range(0, q.shape[1], chunk):
            rows = slice(start, min(start + chunk, q.shape[1]))
            u, keys = scores.mismatch(rows)
            dS = torch.bmm(grad[:, rows], v[:, keys].transpose(1, 2))
            dS = (dS - delta[:, rows, None]) * inverse_Z[:, rows, None]
            S = _strength(u, inverse_rho[:, rows, None], cos_theta[:, None, None])
            S = strongest(scores.masked(S, rows), top_k)
            du, d_rho, d_cos = _gradients(u, S, dS, inverse_rho[:, rows, None], cos_theta[:, None, None], cap)
            grad_v[:, keys].baddbmm_((S * inverse_Z[:, rows, None]).transpose(1, 2), grad[:, rows])
            grad_q[:, rows] = 2 * (du.sum(-1, keepdim=True) * q[:, rows] - torch.bmm(du, k[:, keys]))
            grad_k[:, keys] += 2 * (du.sum(1)[:, :, None] * k[:, keys] - torch.bmm(du.transpose(1, 2), q[:, rows]))
            grad_rho[:, rows] = d_rho.sum(-1)
            grad_cos += d_cos.sum((1, 2))
        return grad_q, grad_k, grad_v, grad_rho, grad_cos, None, None, None, None, None, None


class _Scores:
    """Mismatch of a chunk of queries with the keys it may see, and the mask on what comes of it."""

    def __init__(self, q: Tensor, k: Tensor, causal: bool, same: bool, key_mask: Tensor | None) -> None:
        self.q, self.k, self.causal, self.same, self.key_mask = q, k, causal, same, key_mask
        self.q_squared, self.k_squared = q.square().sum(-1), k.square().sum(-1)

    def mismatch(self, rows: slice) -> tuple[Tensor, slice]:
        """u (G, C, M') of the queries `rows` and the keys they may see, and these keys as a slice."""
        keys = slice(0, rows.stop if self.causal else self.k.shape[1])
        product = torch.bmm(self.q[:, rows], self.k[:, keys].transpose(1, 2))
        u = (self.q_squared[:, rows, None] + self.k_squared[:, None, keys] - 2 * product).clamp_min_(0)
        if self.same:
            u.diagonal(rows.start, 1, 2).zero_()
        return u, keys

    def masked(self, x: Tensor, rows: slice) -> Tensor:
        """x (G, C, M') with zeros where a query may not see a key."""
        if self.causal:
            width = rows.stop - rows.start
            future = torch.ones(width, width, dtype=torch.bool, device=x.device).triu_(1)
            x[:, :, rows].masked_fill_(future, 0)
        if self.key_mask is not None:
            x = x * self.key_mask[:, None, : x.shape[2]]
        return x


def strongest(S: Tensor, top_k: int | None) -> Tensor:
    """S (..., M) with all but the `top_k` largest of each row set to zero, of equal ones the first kept."""
    if top_k is None or top_k >= S.shape[-1]:
        return S
    kept = S.sort(dim=-1, descending=True, stable=True).indices[..., :top_k]
    return torch.zeros_like(S).scatter(-1, kept, S.gather(-1, kept))


def _strength(u: Tensor, inverse_rho: Tensor, cos_theta: Tensor) -> Tensor:
    decay = torch.exp(-u)
    root = (decay * decay - u * inverse_rho).clamp_min(0).sqrt()
    return (root - cos_theta * decay).clamp_min(0)


def _gradients(
    u: Tensor, S: Tensor, dS: Tensor, inverse_rho: Tensor, cos_theta: Tensor, cap: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """du, and what sums to d(1 / rho) and d cos(theta), from S and dS. Pairs with S = 0 have no part in it."""
    decay = torch.exp(-u)
    root = (decay * decay - u * inverse_rho).clamp_min(0).sqrt()
    dS = torch.where(S > 0, dS, 0.0)
    slope = torch.where(S > 0, 0.5 / torch.where(S > 0, root, 1.0), 0.0)
    if cap is not None:
        slope = slope.clamp_max(cap)
    dy = dS * slope
    du = dS * cos_theta * decay - dy * (2 * decay * decay + inverse_rho)
    return du, -u * dy, -dS * decay
