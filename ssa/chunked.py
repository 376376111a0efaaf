"""Synchronization attention in chunks of queries: O(N d) memory, its own backward pass.

    out_i = sum_j S_ij v_j / Z_i       Z_i = floor + sum_j S_ij       S from u_ij = |q_i - k_j|^2 (see ssa/synchrony.py)

q and k are frequencies times sqrt(alpha). S is at most 1, so no running maximum is kept and nothing is rescaled. Only
q, k, v, 1 / rho, out and Z are saved; the backward pass computes S again, chunk by chunk:

    dS_ij = (dout_i . v_j - dout_i . out_i) / Z_i                   on locked pairs, 0 elsewhere
    dy    = dS min(1 / (2 root), cap)                               y = e^{-2u} - u / rho, root = sqrt(y)
    du    = dy (-2 e^{-2u} - 1 / rho) + dS cos(theta) e^{-u}
    dq_i  = 2 sum_j du_ij (q_i - k_j)        dk_j = 2 sum_i du_ij (k_j - q_i)
    d(1 / rho)_i = -sum_j u_ij dy_ij         d cos(theta) = -sum_ij dS_ij e^{-u_ij}

Source: arXiv 2602.14445 for the operator; this form of it and the cap are our choices. For theta = pi/2 the gradient is
infinite at the locking boundary and `cap` bounds it. For a smaller theta it is finite, and a cap of 5 acts only where
root < 0.1: near the boundary, from a theta of about 1.4 on. None is exact.

Legend: G = B H, N queries, M keys, E frequency width, W value width.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssa import pairs
from ssa.dense import synchronize_dense
from ssa.rounding import as_multiplied
from ssa.synchrony import strongest
from synchrony_blocks.transforms import differentiated_again, plain_gradients

CHUNK = 64  # queries a chunk (our choice)
LONG = 2048, 128  # from so many queries on, so many a chunk, which is faster there (our choice)
ON_CUDA = 256, 2**24  # the same two on CUDA, where many small products would wait for each other; guesses, not timed
# Pairs at a time, our choice: heads are taken together up to that many, so that what is computed of them stays in a
# cache, and up to a quarter of the numbers in the queries' values, so that it is little beside what is kept anyway.
# More, and up to half, where sequences are long and queries are the keys, of which less is kept.
MOST, MOST_LONG = 2**18, 2**20
SAMPLE = 8  # keys that the centre of all is taken from (our choice)


def synchronize(
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
    chunk: int | None = None,
    operator: Callable[..., Tensor] | None = None,
) -> Tensor:
    """out (G, N, W) from q (G, N, E), k (G, M, E), v (G, M, W), inverse_rho (G, N) and cos_theta (G,).

    k None: queries and keys are the same frequencies, and the mismatch of a token with itself is exactly 0 whatever
    rounding says. `causal` needs N = M and lets query i see keys j <= i. `key_mask` (G, M) bool: True for keys that may
    lock. `top_k` keeps the strongest partners of a query, of equally strong ones the first. A query that locks to
    nothing gets zeros. Halves are computed in float32, also under autocast.

    Where a query need not lock to itself (cross-attention, frequencies of its own), Z may be small, and what is mixed
    and its gradients change as 1 / Z, which `cap` does not bound. `floor` is added to Z: it does (our choice).

    `operator` takes the place of the autograd function below, as that of `ssa.opaque` does in a compiled graph, or
    gives it other kernels.
    """
    # |q|^2 + |k|^2 - 2 q.k is a small difference of large numbers, all of which must be rounded alike.
    dtype = torch.promote_types(q.dtype, torch.float32)
    # On the meta device operations are counted, by custom over the whole window, the masked half included.
    causal = causal and not q.is_meta
    chunk = chunk or (ON_CUDA[0] if q.is_cuda else LONG[1] if q.shape[1] >= LONG[0] else CHUNK)
    with torch.autocast("cpu" if q.is_meta else q.device.type, enabled=False):
        q, k = q.to(dtype), None if k is None else k.to(dtype)
        # A common offset would cancel badly in them.
        middle = centre(q if k is None else k, key_mask, chunk if causal else None)
        q_, k_ = (None if x is None else as_multiplied(x - middle) for x in (q, k))
        # The first chunk must not know a centre that comes from all of it: see _Chunks.exactly.
        opening = [x[:, :chunk].detach() if causal and x is not None else None for x in (q, k)]
        others = (x.to(dtype) for x in (v, inverse_rho, cos_theta))
        operator = operator or functools.partial(Synchronize.apply, PYTORCH)
        out = operator(q_, k_, *others, *opening, key_mask, causal, cap, top_k, floor, chunk)
    return out.to(v.dtype)


def centre(keys: Tensor, key_mask: Tensor | None, known: int | None) -> Tensor:
    """A point (G, 1, E) amid the keys (G, M, E), of the first `known` of them or of all; no gradient.

    The median of a few in each coordinate: a token far from all others, as the first one of a text may be, does not
    move it. Keys that must not lock do not count; where none is left it is 0.
    """
    reach = min(keys.shape[1], known or keys.shape[1])
    some = slice(0, reach, max(1, -(-reach // SAMPLE)))
    sample = keys.detach()[:, some]
    if key_mask is None:
        middle = (sample.shape[1] - 1) // 2
        return sample.sort(1).values[:, middle : middle + 1]  # torch.median is not deterministic on CUDA
    real = key_mask[:, some]
    ordered = sample.masked_fill(~real[:, :, None], math.inf).sort(1).values
    places = (real.sum(1) - 1).clamp_min(0) // 2
    gathered = ordered.gather(1, places[:, None, None].expand(-1, 1, keys.shape[2]))
    return gathered.masked_fill(~real.any(1)[:, None, None], 0)


class Form(NamedTuple):
    """Who computes it: functions that take and give what `attend` and `gradients_of_attend` do."""

    attend: Callable[..., tuple[Tensor, Tensor]]
    gradients: Callable[..., tuple[Tensor | None, ...]]


class Synchronize(torch.autograd.Function):
    """`attend` of a form, which its arguments follow."""

    @staticmethod
    def forward(ctx: Any, form: Form, *arguments: Any) -> Tensor:
        out, Z = form.attend(*arguments)
        ctx.save_for_backward(*arguments[:5], out, Z, arguments[7])
        ctx.form, ctx.settings = form, arguments[8:]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, inverse_rho, cos_theta, out, Z, key_mask = ctx.saved_tensors
        causal, cap, top_k, floor, chunk = ctx.settings
        if differentiated_again():
            plain = functools.partial(
                synchronize_dense, causal=causal, key_mask=key_mask, cap=cap, top_k=top_k, floor=floor
            )
            return None, *plain_gradients(plain, (q, k, v, inverse_rho, cos_theta), (grad,)), *[None] * 8
        # Autocast may be on where backward is called, and would have u computed otherwise than in the forward pass.
        with torch.autocast("cpu" if grad.is_meta else grad.device.type, enabled=False):
            inputs = (q, k, v, inverse_rho, cos_theta)
            found = ctx.form.gradients(grad, *inputs, out, Z, key_mask, causal, cap, top_k, chunk)
            return None, *found, *[None] * 8


def attend(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    first_q: Tensor | None,
    first_k: Tensor | None,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    top_k: int | None,
    floor: float,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """out (G, N, W) and Z (G, N) of `synchronize`, from centred frequencies, without a gradient. `first_q`, `first_k`:
    the first chunk's as they were given, where the layer is causal.
    """
    out = v.new_empty(*q.shape[:2], v.shape[2])
    Z = q.new_empty(q.shape[:2])
    chunks = _Chunks(q, k, v, inverse_rho, cos_theta, causal, key_mask, chunk)
    if first_q is not None:
        chunks.first = first_q, first_q if first_k is None else first_k
    strengths, _ = pairs.maps(q, q.shape[0] * q.shape[1] * v.shape[1])
    for part in chunks:
        S = strengths(*chunks.arguments(part)).unflatten(0, part.shape)
        S = strongest(S, top_k)
        Z[part.heads, part.rows] = S.sum(-1)
        out[part.heads, part.rows] = torch.bmm(S, v[part.heads, part.keys])
    Z += floor
    out /= torch.where(Z > 0, Z, 1.0)[:, :, None]
    return out, Z


def gradients_of_attend(
    grad: Tensor,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    out: Tensor,
    Z: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    top_k: int | None,
    chunk: int,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """Those of q, k, v, inverse_rho and cos_theta, from that of `out`, which `attend` gave. Not under autocast."""
    same = k is None
    k = q if k is None else k
    grad_k, grad_v = torch.zeros_like(k), torch.zeros_like(v)
    grad_q = grad_k if same else torch.zeros_like(q)
    grad_rho, grad_cos = torch.empty_like(inverse_rho), torch.zeros_like(cos_theta)
    column_sum = k.new_zeros(k.shape[:2])  # of du, as is the next
    row_sum = column_sum if same else torch.zeros_like(Z)
    inverse_Z = torch.where(Z > 0, 1 / torch.where(Z > 0, Z, 1.0), 0.0)
    delta = (grad * out).sum(-1)
    limit = q.new_full((), math.inf if cap is None else cap)
    chunks = _Chunks(q, None if same else k, v, inverse_rho, cos_theta, causal, key_mask, chunk)
    strengths, gradients = pairs.maps(q, q.shape[0] * q.shape[1] * v.shape[1])
    for part in chunks:
        heads, rows, keys = part.heads, part.rows, part.keys
        arguments = chunks.arguments(part)
        dP = torch.bmm(grad[heads, rows], v[heads, keys].transpose(1, 2)).flatten(0, 1)
        per_pair = gradients(*arguments, dP, *(part.flat(x) for x in (delta, inverse_Z)), limit)
        weight, du, u_dy, tilt = (x.unflatten(0, part.shape) for x in per_pair)
        if top_k is not None:
            kept = strongest(strengths(*arguments).unflatten(0, part.shape), top_k) > 0
            weight, du, u_dy, tilt = (x * kept for x in (weight, du, u_dy, tilt))
        du = as_multiplied(du)  # its sums meet its products
        grad_v[heads, keys].baddbmm_(weight.transpose(1, 2), grad[heads, rows])
        grad_q[heads, rows].baddbmm_(du, k[heads, keys], alpha=-2)
        grad_k[heads, keys].baddbmm_(du.transpose(1, 2), q[heads, rows], alpha=-2)
        row_sum[heads, rows] += du.sum(-1)
        column_sum[heads, keys] += du.sum(1)
        grad_rho[heads, rows] = -u_dy.sum(-1)
        grad_cos[heads] -= tilt.sum((1, 2))
        del arguments, dP, per_pair, weight, du, u_dy, tilt  # before the next part's are made
    grad_k.addcmul_(column_sum[:, :, None], k, value=2)
    if not same:
        grad_q.addcmul_(row_sum[:, :, None], q, value=2)
    return grad_q, None if same else grad_k, grad_v, grad_rho, grad_cos


PYTORCH = Form(attend, gradients_of_attend)


class _Part(NamedTuple):
    """Some queries of some heads, and the keys that any of them may see."""

    heads: slice
    rows: slice
    keys: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.heads.stop - self.heads.start, self.rows.stop - self.rows.start

    def flat(self, x: Tensor) -> Tensor:
        """The part's rows of x (G, N), contiguous: the maps are compiled for such."""
        return x[self.heads, self.rows].flatten().contiguous()


class _Chunks:
    """The parts that the pairs are taken in, and what the maps of `ssa.pairs` need of each."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor | None,
        v: Tensor,
        inverse_rho: Tensor,
        cos_theta: Tensor,
        causal: bool,
        key_mask: Tensor | None,
        chunk: int,
    ) -> None:
        same = k is None
        k = q if k is None else k
        # What requires gradients would have the maps compiled a second time.
        self.q, self.k, self.inverse_rho, self.cos_theta = (x.detach() for x in (q, k, inverse_rho, cos_theta))
        self.first = self.q, self.k
        self.key_mask, self.causal, self.chunk = key_mask, causal, chunk
        long = same and q.shape[1] >= LONG[0]
        most = ON_CUDA[1] if q.is_cuda else MOST_LONG if long else MOST
        self.together = min(most, q.shape[0] * q.shape[1] * v.shape[2] // (2 if long else 4))
        self.q2, self.k2 = self.q.square().sum(-1), self.k.square().sum(-1)
        if key_mask is not None:
            self.k2 = self.k2.masked_fill(~key_mask, pairs.MASKED)
        self.place = torch.arange(k.shape[1], dtype=q.dtype, device=q.device)
        row = torch.arange(q.shape[1], dtype=q.dtype, device=q.device)
        own = (row if same else torch.full_like(row, -1)).expand(q.shape[:2])
        self.own = own if key_mask is None or not same else own.masked_fill(~key_mask, -1)
        self.last = row if causal else torch.full_like(row, math.inf)

    def __iter__(self) -> Iterator[_Part]:
        G, N, M = *self.q.shape[:2], self.k.shape[1]
        for start in range(0, N, self.chunk):
            rows = slice(start, min(start + self.chunk, N))
            keys = slice(0, rows.stop if self.causal else M)
            together = max(1, self.together // (self.chunk * keys.stop))
            for head in range(0, G, together):
                yield _Part(slice(head, min(head + together, G)), rows, keys)

    def arguments(self, part: _Part) -> tuple[Tensor, ...]:
        """What `pairs.strengths` takes, heads and queries in one dimension of R rows."""
        heads, rows, keys = part
        n_heads, n_rows = part.shape
        if keys.stop <= self.chunk:
            product, q2 = self.exactly(part), self.q2.new_zeros(n_heads * n_rows)
        else:
            product = torch.baddbmm(
                self.k2[heads, None, keys], self.q[heads, rows], self.k[heads, keys].transpose(1, 2), alpha=-2
            )
            q2 = part.flat(self.q2)
        return (
            product.flatten(0, 1),
            q2,
            part.flat(self.inverse_rho),
            self.cos_theta[heads].repeat_interleave(n_rows),
            part.flat(self.own),
            self.last[rows].repeat(n_heads),
            self.place[keys],
        )

    def exactly(self, part: _Part) -> Tensor:
        """u (heads, rows, keys) by way of float64, which needs no centre, for a part with few keys.

        The first queries of a causal layer have no centre: amid one or two keys, which may be the odd ones, there is
        none, and from more they would know the future. Nor may its rounding reach them, so in the forward pass they
        and their keys, `first`, are as they were given; a gradient may know it.
        """
        heads, rows, keys = part
        q, k = (x[heads, some].double() for x, some in zip(self.first, (rows, keys), strict=True))
        squares = q.square().sum(-1)[:, :, None] + k.square().sum(-1)[:, None]
        u = torch.baddbmm(squares, q, k.transpose(1, 2), alpha=-2).to(self.q.dtype)
        return u if self.key_mask is None else u.masked_fill(~self.key_mask[heads, None, keys], pairs.MASKED)
