"""Collective modes: the feed-forward of `fsn_native`, mean-field coupling to learned phase patterns, no MLP.

Source: arXiv 2606.18694 says "mean-field coupling to learned collective modes"; this form of it is our choice.

    rho_k = (1/sqrt d) sum_c a_kc cos(theta_c - mu_kc)              coherence of the token with mode k
    f_k   = silu(rho_k) (W [cos theta, sin theta])_k                gated drive
    dtheta_c = sum_k f_k w_kc sin(mu_kc + alpha_kc - theta_c)

Legend: d phases, K modes, mu (K, d) phase patterns and alpha (K, d) frustration angles in rad, a, w (K, d) amplitudes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from fsn.phases import Features, features
from synchrony_blocks import checks
from synchrony_blocks.configured import Configured


class CollectiveModes(Configured):
    """Phases theta (..., n_phases) in rad -> increments dtheta of the same shape, through `n_modes` modes.

    Initialisation (our choice): patterns anywhere on the torus, no frustration, coherences and drives of order 1,
    and a weak pull, so that a layer begins near the identity. Raises ValueError for a number less than 1, and for
    phases of another number or kind, TypeError for what is no whole number or no tensor.
    """

    def __init__(self, n_phases: int, n_modes: int, *, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        for name, number in (("n_phases", n_phases), ("n_modes", n_modes)):
            checks.whole(name, number, 1)
        self.n_phases = n_phases
        self.pattern = nn.Parameter(torch.empty(n_modes, n_phases).uniform_(-math.pi, math.pi))  # mu
        self.angle = nn.Parameter(torch.zeros(n_modes, n_phases))  # alpha
        self.listen = nn.Parameter(torch.empty(n_modes, n_phases).normal_())  # a
        self.pull = nn.Parameter(torch.empty(n_modes, n_phases).normal_(std=0.02))  # w
        self.drive = nn.Linear(2 * n_phases, n_modes, bias=False)
        nn.init.normal_(self.drive.weight, std=n_phases**-0.5)

    def phases(self) -> list[Tensor]:
        """Learned phases (rad), which take larger steps than weights."""
        return [self.pattern, self.angle]

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
        joined = state.joined()
        listen = torch.cat((self.listen * self.pattern.cos(), self.listen * self.pattern.sin()), dim=-1)
        coherence = F.linear(joined, listen * state.cos.shape[-1] ** -0.5)
        force = F.silu(coherence) * self.drive(joined)
        target = self.pattern + self.angle
        pull = force @ torch.cat((self.pull * target.sin(), self.pull * target.cos()), dim=-1)
        towards_sin, towards_cos = pull.chunk(2, dim=-1)
        return towards_sin * state.cos - towards_cos * state.sin
