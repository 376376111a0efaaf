"""The equations of Selective Synchronization Attention as pure functions of tensors.

Source: arXiv 2602.14445; the canonical form, the prefix order parameter and the threshold are our choices.

    Delta2_ij = |omega_i - omega_j|^2                         frequency mismatch
    r_i       = mean over dimensions of |mean_j e^{i phi_j}|  order parameter, over the tokens that i may see
    u = alpha Delta2,   rho = alpha (K r)^2
    S_ij      = max(0, sqrt(max(0, e^{-2u} - u / rho)) - cos(theta) e^{-u})      synchronization strength

S is J max(0, cos(dphi) - cos(theta)) with J = e^{-u} and sin(dphi) = Delta / (K r J), the steady state of two Kuramoto
oscillators; this form needs no division by J and is finite at Delta = 0. A pair is locked where S > 0, which is a ball
in frequency space: u < u* = W0(2 rho sin^2 theta) / 2, with W0 the Lambert W function.

Legend: N queries, M keys, d width of a frequency or phase, omega frequency and phi phase (rad), alpha coupling
bandwidth, K coupling strength, theta locking threshold in (0, pi/2] (rad), all of a head.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssa.order import TINY, order_parameter

__all__ = ["TINY", "inverse_rho", "locking_radius", "mismatch", "order_parameter", "strength"]


def mismatch(query: Tensor, key: Tensor) -> Tensor:
    """Delta2 (..., N, M) from frequencies (..., N, d) and (..., M, d), by one matrix product.

    The product cancels badly around an offset that frequencies share, or that one of them has: it is taken in float64,
    the result is rounded to float32, or what the keys have if that is more. Never negative.
    """
    dtype = torch.promote_types(key.dtype, torch.float32)
    query, key = query.double(), key.double()
    squares = query.square().sum(-1)[..., :, None] + key.square().sum(-1)[..., None, :]
    return (squares - 2 * query @ key.transpose(-2, -1)).to(dtype).clamp_min(0)


def inverse_rho(alpha: Tensor, K: Tensor, r: Tensor) -> Tensor:
    """1 / rho = 1 / (alpha (K r)^2) of each query, (B, H, N), from alpha and K (H,) and r (B, H, N or 1).

    For r -> 0 it is held at a huge number instead of infinity: then only equal frequencies lock.
    """
    return 1 / (alpha[:, None] * (K[:, None] * r).square()).clamp_min(TINY)


def strength(
    u: Tensor, inverse_rho: Tensor, cos_theta: Tensor | float, root: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """S from u, 1 / rho and cos(theta), shapes that broadcast. In [0, 1]; its gradient is finite for theta < pi/2.

    `root` takes the place of y -> sqrt(max(0, y)): one with another gradient.
    """
    decay = torch.exp(-u)
    y = decay.square() - u * inverse_rho
    return ((root or _root)(y) - cos_theta * decay).clamp_min(0)


def _root(y: Tensor) -> Tensor:
    # The inner `where` keeps the root's infinite gradient at 0 out of what the outer one leaves out.
    return torch.where(y > 0, torch.where(y > 0, y, 1.0).sqrt(), 0.0)


def locking_radius(alpha: Any, K: Any, r: Any, theta: Any = math.pi / 2) -> Tensor:
    """The largest |omega_i - omega_j| that locks (in the unit of omega), from numbers or tensors that broadcast.

    sqrt(W0(2 rho sin^2 theta) / (2 alpha)), rho = alpha (K r)^2. Not differentiable; float64. Raises ValueError unless
    alpha > 0, K > 0, r >= 0 and 0 < theta <= pi/2.
    """
    from scipy.special import lambertw

    alpha, K, r, theta = (torch.as_tensor(x, dtype=torch.float64).detach().cpu() for x in (alpha, K, r, theta))
    for name, value, fits in (
        ("alpha", alpha, alpha > 0),
        ("K", K, K > 0),
        ("r", r, r >= 0),
        ("theta", theta, (theta > 0) & (theta <= math.pi / 2 + 1e-6)),  # pi/2 rounded to float32 is above pi/2
    ):
        if not bool(fits.all()):
            wrong = value[~fits].flatten()[0]
            raise ValueError(
                f"{name}={wrong:g}: a locking radius takes alpha > 0, K > 0, r >= 0 and theta in (0, pi/2]"
            )
    rho = alpha * (K * r).square()
    u = torch.as_tensor(lambertw((2 * rho * theta.sin().square()).numpy()).real) / 2
    return (u / alpha).sqrt()
