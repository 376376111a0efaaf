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

from ssa.order import TINY


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


def plain_root(y: Tensor) -> Tensor:
    """sqrt(max(0, y)) where nothing is differentiated, which is quicker."""
    return y.clamp_min(0).sqrt()


def smooth_root(y: Tensor) -> Tensor:
    """sqrt(max(0, y)), whose gradient is 0 for y <= 0."""
    # The inner `where` keeps the root's infinite gradient at 0 out of what the outer one leaves out.
    return torch.where(y > 0, torch.where(y > 0, y, 1.0).sqrt(), 0.0)


def strength_and_parts(
    u: Tensor, inverse_rho: Tensor, cos_theta: Tensor | float, root: Callable[[Tensor], Tensor] = plain_root
) -> tuple[Tensor, Tensor, Tensor]:
    """S, J cos(dphi) and J = e^{-u} from u, 1 / rho and cos(theta), shapes that broadcast.

    `root` is taken of e^{-2u} - u / rho: sqrt(max(0, y)), with whatever gradient.
    """
    J = torch.exp(-u)
    J_cos = root(J * J - u * inverse_rho)
    return (J_cos - cos_theta * J).clamp_min(0), J_cos, J


def strength(u: Tensor, inverse_rho: Tensor, cos_theta: Tensor | float) -> Tensor:
    """S in [0, 1] from u, 1 / rho and cos(theta), shapes that broadcast. Its gradient is finite for theta < pi/2."""
    return strength_and_parts(u, inverse_rho, cos_theta, smooth_root)[0]


def strongest(S: Tensor, top_k: int | None) -> Tensor:
    """S (..., M) with all but the `top_k` largest of each row set to zero, of equal ones the first kept."""
    if top_k is None or top_k >= S.shape[-1]:
        return S
    kept = S.sort(dim=-1, descending=True, stable=True).indices[..., :top_k]
    return torch.zeros_like(S).scatter(-1, kept, S.gather(-1, kept))


def mixing_weights(S: Tensor, top_k: int | None, floor: float) -> Tensor:
    """S_ij / (floor + sum_j S_ij) of the strongest, (..., M); zeros for a row without any."""
    S = strongest(S, top_k)
    total = S.sum(-1, keepdim=True) + floor
    return S / torch.where(total > 0, total, 1.0)


def lambert_w(x: Tensor) -> Tensor:
    """W0(x), the w with w e^w = x, of float64 x >= 0, to 1e-15 of the value.

    Newton's method on w + log w = log x (Iacono and Boyd, 2017), so that the layers need torch and not SciPy.
    """
    w = torch.log1p(x)
    for _ in range(5):
        w = w / (1 + w) * (1 + torch.log(x / w))
    return torch.where(x < 1e-16, x, w)  # W0(x) = x - x^2 + ..., and 0 / 0 is none


def locking_radius(alpha: Any, K: Any, r: Any, theta: Any = math.pi / 2) -> Tensor:
    """The largest |omega_i - omega_j| that locks (in the unit of omega), from numbers or tensors that broadcast.

    sqrt(W0(2 rho sin^2 theta) / (2 alpha)), rho = alpha (K r)^2. Not differentiable; float64. Raises ValueError unless
    alpha > 0, K > 0, r >= 0 and 0 < theta <= pi/2.
    """
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
    u = lambert_w(2 * rho * theta.sin().square()) / 2
    return (u / alpha).sqrt()
