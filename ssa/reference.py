"""Selective Synchronization Attention in loops, straight from the equations: what the fast forms must equal.

Source: arXiv 2602.14445. One sequence, one head, float64; every number is a tensor of its own, so gradients come from
autograd. The strength is written in the paper's three steps, not in the canonical form of `ssa.synchrony`.

Legend: N tokens, omega (N, d) frequencies, phi (N, d) phases in rad, v (N, W) values; alpha, K, theta as in
synchrony.py.
"""

import math

import torch
from torch import Tensor


def order_parameter(phi: Tensor, seen: list[int]) -> Tensor:
    """r of the tokens `seen`: mean over dimensions of |mean over tokens of e^{i phi}|."""
    total = torch.zeros((), dtype=phi.dtype)
    for c in range(phi.shape[1]):
        real = sum((torch.cos(phi[j, c]) for j in seen), torch.zeros((), dtype=phi.dtype)) / len(seen)
        imaginary = sum((torch.sin(phi[j, c]) for j in seen), torch.zeros((), dtype=phi.dtype)) / len(seen)
        total = total + torch.sqrt(real * real + imaginary * imaginary)
    return total / phi.shape[1]


def strength(omega_i: Tensor, omega_j: Tensor, alpha: Tensor, K: Tensor, r: Tensor, theta: Tensor) -> Tensor:
    """S_ij in three steps: mismatch and coupling, steady-state phase difference, threshold."""
    squared = torch.zeros((), dtype=omega_i.dtype)
    for c in range(len(omega_i)):
        squared = squared + (omega_i[c] - omega_j[c]) ** 2
    J = torch.exp(-alpha * squared)
    # Equal frequencies: no phase difference. (The root of 0 has no gradient.)
    sine = torch.sqrt(squared) / (K * r * J) if squared > 0 else torch.zeros_like(J)
    if sine >= 1:
        return torch.zeros_like(J)  # no steady state
    difference = torch.asin(sine)
    if difference >= theta:
        return torch.zeros_like(J)
    return J * (torch.cos(difference) - torch.cos(theta))


def attend(
    omega: Tensor,
    phi: Tensor,
    v: Tensor,
    alpha: Tensor,
    K: Tensor,
    theta: Tensor,
    causal: bool,
    real: list[bool] | None = None,
    top_k: int | None = None,
    floor: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """out_i = sum_j S_ij v_j / (floor + sum_j S_ij) and the strengths: (N, W) and (N, N). `real`: False for padding.

    Padding neither counts for r nor is attended; what it gets itself is zero. `top_k` keeps the strongest partners of a
    token, of equally strong ones the first.
    """
    N = len(omega)
    tokens = [j for j in range(N) if real is None or real[j]]
    out, strengths = [], []
    for i in range(N):
        seen = [j for j in tokens if j <= i] if causal else tokens
        row = [torch.zeros((), dtype=omega.dtype) for _ in range(N)]
        if i in tokens:
            r = order_parameter(phi, seen)
            for j in seen:
                row[j] = strength(omega[i], omega[j], alpha, K, r, theta)
            if top_k is not None:
                kept = sorted(range(N), key=lambda j: (-row[j].item(), j))[:top_k]
                row = [s if j in kept else torch.zeros_like(s) for j, s in enumerate(row)]
        total = sum(row, torch.full((), floor, dtype=omega.dtype))
        mixed = torch.zeros(v.shape[1], dtype=v.dtype)
        for j in range(N):
            if row[j] > 0:
                mixed = mixed + row[j] / total * v[j]
        out.append(mixed)
        strengths.append(torch.stack(row))
    return torch.stack(out), torch.stack(strengths)


def positional_frequency(position: float, amplitude: Tensor, drift: Tensor) -> Tensor:
    """(2F,): a_f cos(nu_f t), then a_f sin(nu_f t), of amplitudes (F,) and drifts (F,) in rad a token (our choice).

    Two tokens then differ by sum_f 2 a_f^2 (1 - cos(nu_f (i - j))), which depends on their distance alone.
    """
    cos = [amplitude[f] * math.cos(drift[f] * position) for f in range(len(drift))]
    sin = [amplitude[f] * math.sin(drift[f] * position) for f in range(len(drift))]
    return torch.stack(cos + sin)
