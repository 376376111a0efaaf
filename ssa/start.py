"""Where a layer of Selective Synchronization Attention starts: what may be asked of it, and every initial value.

At the published start no two different tokens are locked: each attends to itself alone, and no gradient says otherwise.
Ours sets alpha and K so that a chosen share of pairs locks. All of it is our choice.

Legend: B batch, H heads, N tokens, D = d_model, d width of the content part of a head's frequencies, F positional
drifts nu; omega, phi, r, alpha, K, theta as in ssa/synchrony.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssa import checks, synchrony

LEAST_THETA = 1e-3  # rad; the cosine of less than a third of it is 1 in float32, and a token not locked to itself
MOST_COUPLING = 1e6  # of alpha and K: alpha K^2, and what is made of it, stays far from float32's largest number
PHASE_SPREAD = 0.5  # rad; phases start this close together, so r starts near 0.9
RHO = 4.0  # alpha (K r)^2 at the mean r: S then ends at u* = 0.80 for theta = pi/2


@dataclass(frozen=True)
class Positions:
    """The positional part of the frequencies, the only positional encoding there is.

    `drifts`: F, pairs of cos and sin with a learned amplitude in every head, nu_f = drift_base^(-f / F) rad a token.
    `position_share`: of the square of the first and the last head's frequencies at the start, those between in equal
    steps; a single head takes their mean. `lag`: queries of head h take a position h lags (tokens, learned from
    there) before their own, so that a head may look for what came before; 0: none do.
    """

    drifts: int = 8
    drift_base: float = 1000.0
    position_share: Sequence[float] = (0.1, 0.6)
    lag: float = 0.0

    def __post_init__(self) -> None:
        checks.whole("drifts", self.drifts, 1)
        checks.number("drift_base", self.drift_base, lambda base: base > 0, "is not positive")
        checks.two_shares("position_share", self.position_share)
        checks.number("lag", self.lag, math.isfinite, "is not a number of tokens")

    def amplitudes(self, n_heads: int, d: int) -> Tensor:
        """a (H, F) on the CPU: the content part has a mean square of d, the positional part of F a^2."""
        first, last = self.position_share if n_heads > 1 else (sum(self.position_share) / 2,) * 2
        share = torch.linspace(first, last, n_heads, device="cpu")
        return (share / (1 - share) * d / self.drifts).sqrt()[:, None].repeat(1, self.drifts)

    def lags(self, n_heads: int) -> Tensor:
        """(H,) on the CPU, tokens."""
        return self.lag * torch.arange(n_heads, dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class Start:
    """Where theta, alpha, K and the weights begin.

    `theta`: the locking threshold (rad); pi/2 is the published operator. `calibrated`: alpha and K are such that in
    every head `locked_fraction` of the pairs of random tokens lock; False takes PyTorch's own weights and alpha = K =
    1, as published. The share holds for tokens of mean square 1, as a norm leaves them, and for sequences of
    `calibration_length` tokens: positions drift apart, so in longer ones fewer pairs lock. `alpha`, `K`: start with
    these instead.
    """

    theta: float = 1.2
    locked_fraction: float = 0.3
    calibration_length: int = 256
    alpha: float | None = None
    K: float | None = None
    calibrated: bool = True

    def __post_init__(self) -> None:
        within = f"does not lie in [{LEAST_THETA}, pi/2]"
        checks.number("theta", self.theta, lambda theta: LEAST_THETA <= theta <= math.pi / 2, within)
        checks.number("locked_fraction", self.locked_fraction, lambda p: 0 < p < 1, "does not lie between 0 and 1")
        checks.whole("calibration_length", self.calibration_length, 2, unless="is less than 2: it takes a pair")
        for name, value in (("alpha", self.alpha), ("K", self.K)):
            checks.number(name, value, lambda x: x > 0, "is not positive", optional=True)
            checks.number(name, value, lambda x: x <= MOST_COUPLING, f"is more than {MOST_COUPLING:.0e}", optional=True)
        checks.switch("calibrated", self.calibrated)

    def threshold(self, n_heads: int) -> Tensor:
        """(H,), of which theta is pi/2 sigmoid(threshold)."""
        ratio = math.inf if self.theta >= math.pi / 2 else self.theta / (math.pi / 2 - self.theta)
        return torch.full((n_heads,), math.log(ratio))

    def draw(self, omega: nn.Linear, phi: nn.Linear, value: nn.Linear, out: nn.Linear) -> None:
        """Give the four maps of a layer, D -> anything, their first weights."""
        if self.calibrated:
            for linear, spread in ((omega, 1.0), (phi, PHASE_SPREAD), (value, 1.0), (out, 1.0)):
                nn.init.normal_(linear.weight, std=spread * linear.in_features**-0.5)

    def tokens(self, d_model: int) -> Tensor:
        """Random tokens (1, calibration_length, D) of mean square 1 to calibrate on, always the same."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, self.calibration_length, d_model, generator=generator, dtype=torch.float32, device="cpu")


def calibrated(Delta2: Tensor, r: Tensor, theta: Tensor, share: float, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and K, each (H,), with which `share` of the pairs lock in every head.

    Delta2 (B, H, N, M): mismatch; `pairs` (N, M) bool: which of them count; r (B, H, N or 1); theta (H,).
    A pair locks where alpha Delta2_ij < u*_i, so alpha is a quantile of u*_i / Delta2_ij; K keeps alpha (K r)^2 at RHO.
    """
    r = r.expand(Delta2.shape[:3])
    alphas, Ks = [], []
    for h in range(Delta2.shape[1]):
        level = r[:, h].mean()
        radius = synchrony.locking_radius(1.0, RHO**0.5 / level, r[:, h], theta[h]).square().to(Delta2)  # u*_i
        ratio = (radius[..., None] / Delta2[:, h].clamp_min(synchrony.TINY))[:, pairs].flatten()
        alphas.append(ratio.kthvalue(1 + int((1 - share) * (len(ratio) - 1))).values)
        Ks.append((RHO / alphas[-1]).sqrt().div(level))
    return torch.stack(alphas), torch.stack(Ks)
