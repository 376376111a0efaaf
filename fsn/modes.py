"""Collective modes: the feed-forward of `fsn_native`, mean-field coupling to learned phase patterns, no MLP.

Source: arXiv 2606.18694 says "mean-field coupling to learned collective modes"; both forms of it are our choice.

    rho_k = sqrt(2 / d) sum_c cos(theta_c - mu_kc)                  coherence of the token with mode k, a mean field
    f_k   = silu(rho_k) (W o)_k                                     gated drive
    dtheta_c = sum_k f_k w_kc sin(mu_kc - theta_c)

In the weighted form a mode listens with amplitudes, pulls at an angle, and its drive sees both quadratures:

    rho_k = (1/sqrt d) sum_c a_kc cos(theta_c - mu_kc)
    dtheta_c = sum_k f_k w_kc sin(mu_kc + alpha_kc - theta_c)

The weighted form takes 6 d parameters a mode. The plain form with one quadrature takes 3 d, so it has twice the modes
at equal parameters, and 5/3 of the multiplications.

Legend: d phases, K modes, mu (K, d) phase patterns and alpha (K, d) frustration angles in rad, a, w (K, d) amplitudes,
o what the drive sees of theta (see `fsn.phases.Observed`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from fsn.phases import Features, Observed, features
from synchrony_blocks import checks
from synchrony_blocks.configured import Configured


class CollectiveModes(Configured):
    """Phases theta (..., n_phases) in rad -> increments dtheta of the same shape, through `n_modes` modes.

    `weighted`: the form with amplitudes and angles. `quadratures`: those that the drive of the plain form sees of each
    phase, 1 or 2; that of the weighted form always sees 2.
    Initialisation (our choice): patterns anywhere on the torus, no frustration, coherences and drives of order 1,
    and a weak pull, so that a layer begins near the identity. Raises ValueError for a number less than 1, for other
    quadratures, and for phases of another number or kind, TypeError for what is no whole number or no tensor.
    """

    def __init__(
        self,
        n_phases: int,
        n_modes: int,
        *,
        weighted: bool = False,
        quadratures: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("n_phases", n_phases), ("n_modes", n_modes)):
            checks.whole(name, number, 1)
        checks.switch("weighted", weighted)
        self.n_phases = n_phases
        self.pattern = nn.Parameter(torch.empty(n_modes, n_phases).uniform_(-math.pi, math.pi))  # mu
        if weighted:
            self.angle = nn.Parameter(torch.zeros(n_modes, n_phases))  # alpha
            self.listen = nn.Parameter(torch.empty(n_modes, n_phases).normal_())  # a
        else:
            self.register_parameter("angle", None)
            self.register_parameter("listen", None)
        self.pull = nn.Parameter(torch.empty(n_modes, n_phases).normal_(std=0.02))  # w
        self.observed = Observed(n_phases, 2 if weighted else quadratures)
        self.drive = nn.Linear(self.observed.width, n_modes, bias=False)
        nn.init.normal_(self.drive.weight, std=(self.observed.width / 2) ** -0.5)

    def phases(self) -> list[Tensor]:
        """Learned phases (rad), which take larger steps than weights."""
        return [self.pattern] if self.angle is None else [self.pattern, self.angle]

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone."""
        return self.phases()

    def forward(self, theta: Tensor) -> Tensor:
        """theta (..., d) in rad -> dtheta (..., d) in rad."""
        checks.vectors("theta", theta, self.n_phases)
        return self.couple(features(theta))

    def couple(self, state: Features) -> Tensor:
        """dtheta (..., d) from the features of theta. By the angle-sum formulas every sum over c or k is a product
        with a matrix (2d, K) or (K, 2d): cos(theta - mu) = cos theta cos mu + sin theta sin mu, and the like.
        """
        cosine, sine = self.pattern.cos(), self.pattern.sin()
        if self.listen is None:
            listen = torch.cat((cosine, sine), dim=-1) * (2 / self.n_phases) ** 0.5
        else:
            listen = torch.cat((self.listen * cosine, self.listen * sine), dim=-1) * self.n_phases**-0.5
        force = F.silu(F.linear(state.joined(), listen)) * self.drive(self.observed(state))
        if self.angle is not None:
            target = self.pattern + self.angle
            cosine, sine = target.cos(), target.sin()
        pull = force @ torch.cat((self.pull * sine, self.pull * cosine), dim=-1)
        towards_sin, towards_cos = pull.chunk(2, dim=-1)
        return towards_sin * state.cos - towards_cos * state.sin
