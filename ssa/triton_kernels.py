"""The chunked operator as Triton kernels: one program a block of queries or of keys, which no matrix of pairs leaves.

Takes the place of `attend` and `gradients_of_attend` of `ssa.chunked`, whose equations these are, for CUDA. As in
FlashAttention-2 (Dao, 2023) the backward pass computes S again, once for the queries and once for the keys, and nothing
is added by two programs, so that results do not depend on their order. There is no running maximum, because S is at
most 1. No `top_k`: it would need a whole row. Source: our choice.

Verified by Triton's interpreter on a CPU and by the tests on an H100. `ssa.kernels` compares it with `ssa.chunked` on
the device before its first use.

Legend: G = B H, N queries, M keys, E frequency width, W value width; E2, W2 the powers of two that hold these.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ssa.rounding import in_tf32

# With these and the blocks of `ssa.kernels.block` nearly all fits registers, says the compiler for sm_80 and sm_90.
# What is not multiplied in TF32 needs far more.
LAUNCH = {"num_warps": 8, "num_stages": 2}


@triton.jit
def _load(rows_of, index, limit, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Rows `index` (BLOCK,) of a matrix (limit, WIDTH), zeros beyond it: (BLOCK, PADDED)."""
    column = tl.arange(0, PADDED)[None, :]
    inside = (index[:, None] < limit) & (column < WIDTH)
    return tl.load(rows_of + index[:, None] * WIDTH + column, mask=inside, other=0.0)


@triton.jit
def _store(rows_of, index, limit, x, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    column = tl.arange(0, PADDED)[None, :]
    tl.store(rows_of + index[:, None] * WIDTH + column, x, mask=(index[:, None] < limit) & (column < WIDTH))


@triton.jit
def _multiplied(x, PRECISION: tl.constexpr):
    """x as a product will take it, so that its sums meet its products: `ssa.rounding`."""
    if PRECISION == "tf32":
        x = ((x.to(tl.int32, bitcast=True) + 0x1000) & ~0x1FFF).to(tl.float32, bitcast=True)
    return x


@triton.jit
def _real(key_mask, keys, M, MASKED: tl.constexpr):
    """Which keys (BLOCK,) there are, and may lock."""
    real = keys < M
    if MASKED:
        real &= tl.load(key_mask + keys, mask=real, other=0) != 0
    return real


@triton.jit
def _pairs(
    q, k, some_q, some_k, rows, keys, N, M, real, inverse_rho, cos_theta, seen,
    E: tl.constexpr, BLOCK: tl.constexpr, CAUSAL: tl.constexpr, SAME: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """u, S, J cos(dphi) and J, (BLOCK, BLOCK), of queries `rows` with frequencies q (BLOCK, E2) and `keys` with k.

    `seen`: up to which key the queries see. Where these are few, u comes from differences of the frequencies at
    `some_q` and `some_k`, which need no centre: see `_Chunks.exactly` of `ssa.chunked`.
    """
    if seen <= BLOCK:
        u = tl.zeros((BLOCK, BLOCK), dtype=q.dtype)
        for e in range(E):
            omega_i = tl.load(some_q + rows * E + e, mask=rows < N, other=0.0)
            omega_j = tl.load(some_k + keys * E + e, mask=keys < M, other=0.0)
            difference = omega_i[:, None] - omega_j[None, :]
            u += difference * difference
    else:
        product = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=q.dtype)
        u = tl.maximum(tl.sum(q * q, 1)[:, None] + tl.sum(k * k, 1)[None, :] - 2 * product, 0.0)
    if SAME:
        u = tl.where(rows[:, None] == keys[None, :], 0.0, u)
    J = tl.exp(-u)
    J_cos = tl.sqrt(tl.maximum(J * J - u * inverse_rho[:, None], 0.0))
    locks = real[None, :]
    if CAUSAL:
        locks &= rows[:, None] >= keys[None, :]
    return u, tl.where(locks, tl.maximum(J_cos - cos_theta * J, 0.0), 0.0), J_cos, J


@triton.jit
def _gradients(
    u, S, J_cos, J, dP, rows, keys, delta, inverse_Z, inverse_rho, cos_theta, CAP: tl.constexpr, SAME: tl.constexpr
):  # fmt: skip
    """du, u dy and dS e^{-u}, (BLOCK, BLOCK), as `ssa.pairs.gradients` has them."""
    dS = tl.where(S > 0, (dP - delta[:, None]) * inverse_Z[:, None], 0.0)
    slope = 0.5 / tl.maximum(J_cos, 1e-15)
    if CAP is not None:
        slope = tl.minimum(slope, CAP)
    dy, tilt = dS * slope, dS * J
    du = cos_theta * tilt - dy * (2 * J * J + inverse_rho[:, None])
    if SAME:
        du = tl.where(rows[:, None] == keys[None, :], 0.0, du)
    return du, u * dy, tilt


@triton.jit
def _forward(
    q, k, v, some_q, some_k, inverse_rho, cos_theta, key_mask, out, Z, N, M, some_N, some_M,
    FLOOR: tl.constexpr, E: tl.constexpr, W: tl.constexpr, E2: tl.constexpr, W2: tl.constexpr, BLOCK: tl.constexpr,
    CAUSAL: tl.constexpr, SAME: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out (G, N, W) and Z (G, N), a block of queries a program."""
    head = (tl.program_id(0) // tl.cdiv(N, BLOCK)).to(tl.int64)
    start = tl.program_id(0) % tl.cdiv(N, BLOCK) * BLOCK
    rows = start + tl.arange(0, BLOCK)
    k, v, key_mask = k + head * M * E, v + head * M * W, key_mask + head * M
    some_q, some_k = some_q + head * some_N * E, some_k + head * some_M * E
    q_i = _load(q + head * N * E, rows, N, E, E2)
    inverse_rho_i = tl.load(inverse_rho + head * N + rows, mask=rows < N, other=0.0)
    cos = tl.load(cos_theta + head)
    total = tl.zeros((BLOCK,), dtype=q_i.dtype)
    mixed = tl.zeros((BLOCK, W2), dtype=q_i.dtype)
    seen = tl.minimum(start + BLOCK, M) if CAUSAL else M
    for first in range(0, seen, BLOCK):
        keys = first + tl.arange(0, BLOCK)
        real = _real(key_mask, keys, M, MASKED)
        k_j = _load(k, keys, M, E, E2)
        _, S, _, _ = _pairs(
            q_i, k_j, some_q, some_k, rows, keys, N, M, real, inverse_rho_i, cos, seen,
            E, BLOCK, CAUSAL, SAME, PRECISION,
        )  # fmt: skip
        total += tl.sum(S, 1)
        mixed += tl.dot(S, _load(v, keys, M, W, W2), input_precision=PRECISION, out_dtype=q_i.dtype)
    total += FLOOR
    tl.store(Z + head * N + rows, total, mask=rows < N)
    _store(out + head * N * W, rows, N, mixed / tl.where(total > 0, total, 1.0)[:, None], W, W2)


@triton.jit
def _backward_queries(
    q, k, v, inverse_rho, cos_theta, key_mask, grad, delta, inverse_Z, grad_q, grad_rho, grad_cos, N, M,
    CAP: tl.constexpr, E: tl.constexpr, W: tl.constexpr, E2: tl.constexpr, W2: tl.constexpr, BLOCK: tl.constexpr,
    CAUSAL: tl.constexpr, SAME: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of q (G, N, E), 1 / rho (G, N) and cos theta, of each query (G, N), a block of queries a program."""
    head = (tl.program_id(0) // tl.cdiv(N, BLOCK)).to(tl.int64)
    start = tl.program_id(0) % tl.cdiv(N, BLOCK) * BLOCK
    rows = start + tl.arange(0, BLOCK)
    q, k, v, key_mask = q + head * N * E, k + head * M * E, v + head * M * W, key_mask + head * M
    q_i, grad_i = _load(q, rows, N, E, E2), _load(grad + head * N * W, rows, N, W, W2)
    inverse_rho_i = tl.load(inverse_rho + head * N + rows, mask=rows < N, other=0.0)
    delta_i = tl.load(delta + head * N + rows, mask=rows < N, other=0.0)
    inverse_Z_i = tl.load(inverse_Z + head * N + rows, mask=rows < N, other=0.0)
    cos = tl.load(cos_theta + head)
    sum_du = tl.zeros((BLOCK,), dtype=q_i.dtype)
    sum_rho, sum_cos = sum_du, sum_du
    du_k = tl.zeros((BLOCK, E2), dtype=q_i.dtype)
    seen = tl.minimum(start + BLOCK, M) if CAUSAL else M
    for first in range(0, seen, BLOCK):
        keys = first + tl.arange(0, BLOCK)
        real = _real(key_mask, keys, M, MASKED)
        k_j, v_j = _load(k, keys, M, E, E2), _load(v, keys, M, W, W2)
        u, S, J_cos, J = _pairs(
            q_i, k_j, q, k, rows, keys, N, M, real, inverse_rho_i, cos, seen, E, BLOCK, CAUSAL, SAME, PRECISION
        )
        dP = tl.dot(grad_i, tl.trans(v_j), input_precision=PRECISION, out_dtype=q_i.dtype)
        du, u_dy, tilt = _gradients(u, S, J_cos, J, dP, rows, keys, delta_i, inverse_Z_i, inverse_rho_i, cos, CAP, SAME)
        du = _multiplied(du, PRECISION)
        sum_du += tl.sum(du, 1)
        du_k += tl.dot(du, k_j, input_precision=PRECISION, out_dtype=q_i.dtype)
        sum_rho += tl.sum(u_dy, 1)
        sum_cos += tl.sum(tilt, 1)
    _store(grad_q + head * N * E, rows, N, 2 * (sum_du[:, None] * q_i - du_k), E, E2)
    tl.store(grad_rho + head * N + rows, -sum_rho, mask=rows < N)
    tl.store(grad_cos + head * N + rows, -sum_cos, mask=rows < N)


@triton.jit
def _backward_keys(
    q, k, v, inverse_rho, cos_theta, key_mask, grad, delta, inverse_Z, grad_k, grad_v, N, M,
    CAP: tl.constexpr, E: tl.constexpr, W: tl.constexpr, E2: tl.constexpr, W2: tl.constexpr, BLOCK: tl.constexpr,
    CAUSAL: tl.constexpr, SAME: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of k (G, M, E) and v (G, M, W), a block of keys a program."""
    head = (tl.program_id(0) // tl.cdiv(M, BLOCK)).to(tl.int64)
    start = tl.program_id(0) % tl.cdiv(M, BLOCK) * BLOCK
    keys = start + tl.arange(0, BLOCK)
    q, k, grad = q + head * N * E, k + head * M * E, grad + head * N * W
    inverse_rho, delta, inverse_Z = inverse_rho + head * N, delta + head * N, inverse_Z + head * N
    real = _real(key_mask + head * M, keys, M, MASKED)
    k_j, v_j = _load(k, keys, M, E, E2), _load(v + head * M * W, keys, M, W, W2)
    cos = tl.load(cos_theta + head)
    sum_du = tl.zeros((BLOCK,), dtype=k_j.dtype)
    du_q = tl.zeros((BLOCK, E2), dtype=k_j.dtype)
    sum_v = tl.zeros((BLOCK, W2), dtype=k_j.dtype)
    for first in range(start if CAUSAL else 0, N, BLOCK):
        rows = first + tl.arange(0, BLOCK)
        q_i, grad_i = _load(q, rows, N, E, E2), _load(grad, rows, N, W, W2)
        inverse_rho_i = tl.load(inverse_rho + rows, mask=rows < N, other=0.0)
        delta_i = tl.load(delta + rows, mask=rows < N, other=0.0)
        inverse_Z_i = tl.load(inverse_Z + rows, mask=rows < N, other=0.0)
        seen = tl.minimum(first + BLOCK, M) if CAUSAL else M
        u, S, J_cos, J = _pairs(
            q_i, k_j, q, k, rows, keys, N, M, real, inverse_rho_i, cos, seen, E, BLOCK, CAUSAL, SAME, PRECISION
        )
        dP = tl.dot(grad_i, tl.trans(v_j), input_precision=PRECISION, out_dtype=k_j.dtype)
        du, _, _ = _gradients(u, S, J_cos, J, dP, rows, keys, delta_i, inverse_Z_i, inverse_rho_i, cos, CAP, SAME)
        du = _multiplied(du, PRECISION)
        sum_du += tl.sum(du, 0)
        du_q += tl.dot(tl.trans(du), q_i, input_precision=PRECISION, out_dtype=k_j.dtype)
        weight = S * inverse_Z_i[:, None]
        sum_v += tl.dot(tl.trans(weight), grad_i, input_precision=PRECISION, out_dtype=k_j.dtype)
    _store(grad_k + head * M * E, keys, M, 2 * (sum_du[:, None] * k_j - du_q), E, E2)
    _store(grad_v + head * M * W, keys, M, sum_v, W, W2)


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
    """`ssa.chunked.attend` without `top_k`. `chunk`: a power of two from 16 on, the keys a block as well."""
    q, v, inverse_rho = q.contiguous(), v.contiguous(), inverse_rho.contiguous()
    same, k = k is None, q if k is None else k.contiguous()
    some_q, some_k = (q, k) if first_q is None else (first_q, first_q if first_k is None else first_k)
    some_q, some_k = some_q.contiguous(), some_k.contiguous()
    out, Z = v.new_empty(*q.shape[:2], v.shape[2]), q.new_empty(q.shape[:2])
    sizes, constants = _settings(q, k, v, key_mask, causal, same, chunk)
    with torch.cuda.device_of(q):
        _forward[(len(q) * triton.cdiv(q.shape[1], chunk),)](
            q, k, v, some_q, some_k, inverse_rho, cos_theta, q if key_mask is None else key_mask.contiguous(), out, Z,
            *sizes, some_q.shape[1], some_k.shape[1], FLOOR=floor, **constants,
        )  # fmt: skip
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
    """`ssa.chunked.gradients_of_attend` without `top_k`."""
    grad, q, v, inverse_rho = grad.contiguous(), q.contiguous(), v.contiguous(), inverse_rho.contiguous()
    same, k = k is None, q if k is None else k.contiguous()
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    grad_rho, grad_cos = torch.empty_like(inverse_rho), torch.empty_like(inverse_rho)
    inverse_Z = torch.where(Z > 0, 1 / torch.where(Z > 0, Z, 1.0), 0.0)
    mask = q if key_mask is None else key_mask.contiguous()
    given = q, k, v, inverse_rho, cos_theta, mask, grad, (grad * out).sum(-1), inverse_Z
    sizes, constants = _settings(q, k, v, key_mask, causal, same, chunk)
    with torch.cuda.device_of(q):
        blocks_of_queries, blocks_of_keys = (triton.cdiv(length, chunk) for length in sizes)
        _backward_queries[(len(q) * blocks_of_queries,)](
            *given, grad_q, grad_rho, grad_cos, *sizes, CAP=cap, **constants
        )
        _backward_keys[(len(q) * blocks_of_keys,)](*given, grad_k, grad_v, *sizes, CAP=cap, **constants)
    if same:
        grad_q += grad_k
    return grad_q, None if same else grad_k, grad_v, grad_rho, grad_cos.sum(1)


def _settings(
    q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None, causal: bool, same: bool, chunk: int
) -> tuple[tuple[int, int], dict[str, Any]]:
    """N and M, and what all kernels are compiled for."""
    E, W = q.shape[2], v.shape[2]
    widths = {"E": E, "W": W, "E2": max(16, triton.next_power_of_2(E)), "W2": max(16, triton.next_power_of_2(W))}
    flags = {
        "CAUSAL": causal,
        "SAME": same,
        "MASKED": key_mask is not None,
        "PRECISION": "tf32" if in_tf32(q) else "ieee",
    }
    return (q.shape[1], k.shape[1]), {**widths, **flags, "BLOCK": chunk, **LAUNCH}
