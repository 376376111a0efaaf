"""What a layer of Selective Synchronization Attention does: its maps and, by head, how much is locked and why."""

import torch
from torch import Tensor

from ssa.synchrony import locking_radius, mixing_weights


def report(
    S: Tensor,
    allowed: Tensor,
    r: Tensor,
    alpha: Tensor,
    K: Tensor,
    theta: Tensor,
    *,
    is_self: bool,
    top_k: int | None,
    floor: float,
) -> dict[str, Tensor]:
    """The diagnostics of a layer (our choice of quantities). Detached if what they are made of is.

    From S (B, H, N, M), which pairs may lock (B, 1, N, M) bool, r (B, H, N or 1), and alpha, K, theta (H,); `is_self`:
    M are the N tokens themselves. `top_k` and `floor` as in what the layer mixes.

    attention (B, H, N, M): S over its row sum and the floor, with top_k of the strongest; locked_fraction (H,): share
    of the pairs that may lock and do, with top_k too, a token with itself left out; order_parameter (H,): mean r;
    alpha, K, theta, locking_radius (H,), the last at the mean r and in the unit of omega.
    """
    pairs = allowed & ~torch.eye(S.shape[2], dtype=torch.bool, device=S.device) if is_self else allowed
    mean = r.mean((0, 2))
    return {
        "attention": mixing_weights(S, top_k, floor),
        "locked_fraction": ((S > 0) & pairs).sum((0, 2, 3)) / pairs.sum().clamp_min(1),
        "order_parameter": mean,
        "alpha": alpha,
        "K": K,
        "theta": theta,
        "locking_radius": locking_radius(alpha, K, mean, theta).to(alpha),
    }
