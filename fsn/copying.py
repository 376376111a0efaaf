"""The copying head: it finds a state like the present one and couples to the state that came after it (ours).

    s_tu = (1/sqrt(d)) sum_c g_c cos(theta_tc - theta_uc)                          A = softmax of s over u < t
    dtheta_tc = sum_m Im( Z_mc(t) e^{-i m theta_tc} )   for the coupled phases c, zero for the others
    Z_m(t) = sum_u A_tu kappa_m e^{i m theta_{u+1}}

It is the successor coupling of arXiv 2606.18694 alone (delay 1), in a head of its own that shares the phases with the
layer's attention. It has no drift, so a match counts the same at every distance; its gates are large at the start, so
that one match outweighs a long context; and it leaves a part of the phases alone, which go on telling what the
token was.

Legend: B batch, N tokens, d phases, d' coupled phases, M harmonics, kappa (M, 1, d') complex kernel, g gate.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsn.causal_attention import causal_attention
from fsn.phases import Features, features, harmonics, later


class CopyingHead(nn.Module):
    """Phases theta (B, N, n_phases) in rad -> increments dtheta of the same shape. Causal.

    `share` of the phases are coupled, the last ones, which have the slowest rotary drift elsewhere. Keys are shifted by
    one as in `fsn.attention`: slot u carries the key of token u - 1 and the value of token u, slot 0 is the null slot.
    Raises ValueError for a number of harmonics less than 1 or a share of which no phase is coupled.
    """

    def __init__(
        self, n_phases: int, harmonics: int = 1, *, share: float = 0.5, coupling: float = 1.0, gate: float = 2.0
    ) -> None:
        super().__init__()
        if harmonics < 1:
            raise ValueError(f"harmonics={harmonics} is less than 1")
        self.n_coupled = round(share * n_phases)
        if not 0 < self.n_coupled <= n_phases:
            raise ValueError(f"copying_share={share} of {n_phases} phases is {self.n_coupled} of them")
        self.n_phases, self.harmonics, self.scale = n_phases, harmonics, n_phases**-0.5
        self.gate_constant = nn.Parameter(torch.full((n_phases,), gate))
        self.kernel_real = nn.Parameter(torch.full((harmonics, 1, self.n_coupled), coupling))
        self.kernel_imag = nn.Parameter(torch.zeros(harmonics, 1, self.n_coupled))

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone."""
        return [*self.gates(), *self.kernels()]

    def kernels(self) -> list[Tensor]:
        """The coupling kernel, which may take a rate of its own."""
        return [self.kernel_real, self.kernel_imag]

    def gates(self) -> list[Tensor]:
        """The gate, which may take a rate of its own."""
        return [self.gate_constant]

    def forward(self, theta: Tensor) -> Tensor:
        """theta (B, N, d) in rad -> dtheta (B, N, d) in rad."""
        return self.couple(features(theta))

    def couple(self, state: Features) -> Tensor:
        """dtheta (B, N, d) from the features of theta."""
        q, k = self._query_key(state)
        powers = self._powers(state)
        v = F.pad(self._values(powers)[:, 1:], (0, 0, 1, 0))  # the null slot
        mixed = causal_attention(q[:, None], later(k)[:, None], v[:, None], self.scale)[:, 0]
        return self._read(mixed, powers)

    @torch.no_grad()
    def diagnostics(self, state: Features) -> dict[str, Tensor]:
        """As those of `SynchronizationAttention`, for one head; the order parameter is that of the coupled phases."""
        q, k = self._query_key(state)
        weights = (q @ later(k).mT * self.scale).masked_fill(
            torch.ones(q.shape[1], q.shape[1], dtype=torch.bool, device=q.device).triu(1), float("-inf")
        )
        weights = weights.softmax(-1)
        attention = F.pad(weights[..., 1:], (0, 1))
        cos, sin = self._powers(state)[0]
        order = torch.hypot(attention @ cos, attention @ sin).mean(-1)
        gate = self.gate_constant.mean().expand_as(order)
        return {
            name: x[:, None]
            for name, x in {
                "attention": attention,
                "null": weights[..., 0],
                "order_parameter": order,
                "gate": gate,
            }.items()
        }

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """Keys and values of the slots seen so far: none; the last token's key: that of the null slot."""
        none = self.kernel_real.new_empty(batch_size, 0, 2 * self.n_phases)
        v = none.new_empty(batch_size, 0, 2 * self.harmonics * self.n_coupled)
        return {"k": none, "v": v, "last": none.new_zeros(batch_size, 1, 2 * self.n_phases)}

    def step(self, state: Features, cache: dict[str, Any]) -> Tensor:
        """One token: features (B, d) -> dtheta (B, d); its slot joins the cache."""
        state = Features(state.cos[:, None], state.sin[:, None])
        (q, k), powers = self._query_key(state), self._powers(state)
        v = self._values(powers) if cache["k"].shape[1] else cache["v"].new_zeros(len(q), 1, cache["v"].shape[2])
        cache["k"], cache["v"] = torch.cat((cache["k"], cache["last"]), dim=1), torch.cat((cache["v"], v), dim=1)
        cache["last"] = k
        weights = torch.softmax(q @ cache["k"].mT * self.scale, dim=-1)
        return self._read(weights @ cache["v"], powers)[:, 0]

    def _query_key(self, state: Features) -> tuple[Tensor, Tensor]:
        """q = g * (cos, sin) theta_t and k = (cos, sin) theta_u, each (B, N, 2d)."""
        k = state.joined()
        return k * self.gate_constant.repeat(2), k

    def _powers(self, state: Features) -> list[Features]:
        """e^{i m theta} of the coupled phases, m = 1..M."""
        return harmonics(Features(*(x[..., -self.n_coupled :] for x in state)), self.harmonics)

    def _values(self, powers: list[Features]) -> Tensor:
        """kappa_m e^{i m theta}, (B, N, M 2 d')."""
        parts = []
        for (c, s), a, b in zip(powers, self.kernel_real[:, 0], self.kernel_imag[:, 0], strict=True):
            parts += [a * c - b * s, a * s + b * c]
        return torch.cat(parts, dim=-1)

    def _read(self, mixed: Tensor, powers: list[Features]) -> Tensor:
        """sum_m Im( Z_m e^{-i m theta} ) from Z (B, N, M 2 d'), zero where nothing is coupled: (B, N, d)."""
        increment: Any = 0.0
        for (c, s), z in zip(powers, mixed.chunk(self.harmonics, dim=-1), strict=True):
            z_real, z_imag = z.chunk(2, dim=-1)
            increment = increment + z_imag * c - z_real * s
        return F.pad(increment, (self.n_phases - self.n_coupled, 0))
