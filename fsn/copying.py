"""The copying head: it finds a state like the present one and couples to the state that came after it (ours).

    s_tu = (1/sqrt(d)) sum_c g_c cos(theta_tc - theta_uc)                          A = softmax of s over u < t
    dtheta_tc = sum_m Im( Z_mc(t) e^{-i m theta_tc} )   for the coupled phases c, zero for the others
    Z_m(t) = sum_u A_tu kappa_m e^{i m theta_{u+1}}

It is the successor coupling of arXiv 2606.18694 alone (delay 1), in a head of its own that shares the phases with the
layer's attention. It has no drift, so a match counts the same at every distance; its gates are large at the start, so
that one match outweighs a long context; and it leaves a part of the phases alone, which go on telling what the
token was.

Where no token is in the future, in a head that is not causal or of a memory, A is a softmax over all tokens, but never
over t itself, which would be the best match of all. The last token, and one before padding, has no successor: who
attends it gets nothing from it, as from the null slot.

Legend: B batch, N tokens, L tokens of a memory, S slots, d phases, d' coupled phases, M harmonics, kappa (M, 1, d')
complex kernel, g gate.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from fsn.padding import couple_real_tokens, phases_without, without
from fsn.phases import Features, earlier, features, harmonics, later
from fsn.softmax_attention import attention_weights, softmax_attention
from synchrony_blocks import checks
from synchrony_blocks.cache import MemoryCache, TokenBuffer, check_own
from synchrony_blocks.configured import Configured


class CopyingHead(Configured):
    """Phases theta (B, N, n_phases) in rad -> increments dtheta of the same shape.

    `causal`: only tokens before a token are attended, else all others of its sequence. Of a memory all are either way.
    `share` of the phases are coupled, the last ones, which have the slowest rotary drift elsewhere. Keys are shifted by
    one as in `fsn.attention`: slot u carries the key of token u - 1 and the value of token u, slot 0 is the null slot.
    Where no token is in the future the null slot comes before all of them.
    Raises ValueError for a number of phases or harmonics less than 1 or a share of which no phase is coupled, TypeError
    for what is no whole number or no switch.
    """

    def __init__(
        self,
        n_phases: int,
        harmonics: int = 1,
        *,
        share: float = 0.5,
        coupling: float = 1.0,
        gate: float = 2.0,
        causal: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("n_phases", n_phases), ("harmonics", harmonics)):
            checks.whole(name, number, 1)
        checks.switch("causal", causal)
        for name, value in (("share", share), ("coupling", coupling), ("gate", gate)):
            checks.number(name, value, math.isfinite, "is not finite")
        self.n_coupled = round(share * n_phases)
        if not 0 < self.n_coupled <= n_phases:
            raise ValueError(f"copying_share={share} of {n_phases} phases is {self.n_coupled} of them")
        self.n_phases, self.harmonics, self.scale, self.causal = n_phases, harmonics, n_phases**-0.5, causal
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

    def forward(self, theta: Tensor, *, memory: Tensor | None = None, padding_mask: Tensor | None = None) -> Tensor:
        """theta (B, N, d) in rad -> dtheta (B, N, d) in rad.

        `memory` (B, L, d) phases in rad, `padding_mask` (B, L) bool and what is raised: see `SynchronizationAttention`.
        """
        checks.sequences("theta", theta, memory, padding_mask, self.n_phases)
        theta, memory = phases_without(theta, memory, padding_mask)
        return self.couple(features(theta), None if memory is None else features(memory), padding_mask)

    def couple(self, state: Features, memory: Features | None = None, padding_mask: Tensor | None = None) -> Tensor:
        """dtheta (B, N, d) from the features of theta, and of a memory."""

        def couple(state: Features, memory: Features | None, padding_mask: Tensor | None) -> Tensor:
            q, k, v, real = self._query_slots(state, memory, padding_mask)
            causal, barred = self._pairs(memory)
            q, k, v = q[:, None], k[:, None], v[:, None]
            mixed = softmax_attention(q, k, v, self.scale, causal=causal, key_mask=real, barred=barred)
            return self._read(mixed[:, 0], self._powers(state))

        return couple_real_tokens(couple, state, memory, padding_mask)

    @torch.no_grad()
    def diagnostics(
        self, state: Features, memory: Features | None = None, padding_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As those of `SynchronizationAttention`, for one head; the order parameter is that of the coupled phases."""
        source = without(state if memory is None else memory, padding_mask)
        state, memory = (source, None) if memory is None else (state, source)
        q, k, _, real = self._query_slots(state, memory, padding_mask)
        causal, barred = self._pairs(memory)
        weights = attention_weights(q[:, None], k[:, None], self.scale, causal=causal, key_mask=real, barred=barred)
        if memory is None and padding_mask is not None:
            weights = weights * padding_mask[:, None, :, None]
        attention = F.pad(weights[..., 1:], (0, 1 if causal else 0))
        cos, sin = self._powers(source)[0]
        order = torch.hypot(attention @ cos[:, None], attention @ sin[:, None]).mean(-1)
        gate = self.gate_constant.mean().expand_as(order)
        return {"attention": attention, "null": weights[..., 0], "order_parameter": order, "gate": gate}

    def init_cache(
        self, batch_size: int, memory: Tensor | None = None, padding_mask: Tensor | None = None
    ) -> dict[str, Any]:
        """What `step` keeps of the tokens so far, of none: keys and values of their slots, and the last token's key:
        that of the null slot. Of a memory (B, L, d) in rad, all of which is known: its keys and values `k` and `v`
        (B, S, .), and which slots are `real` (B, S). Raises as `forward` does.
        """
        if memory is not None:
            checks.sequences("memory", memory, None, padding_mask, self.n_phases)
            if len(memory) != batch_size:
                raise ValueError(f"memory has a batch of {len(memory)} and the cache one of {batch_size}")
            return self.memory_cache(features(memory), padding_mask)
        if padding_mask is not None:
            raise ValueError("padding_mask is of a memory here: give memory too")
        none = self.kernel_real.new_empty(batch_size, 0, 2 * self.n_phases)
        v = none.new_empty(batch_size, 0, 2 * self.harmonics * self.n_coupled)
        last = none.new_zeros(batch_size, 1, 2 * self.n_phases)
        return {"k": TokenBuffer(none), "v": TokenBuffer(v), "last": last}

    def memory_cache(self, memory: Features, padding_mask: Tensor | None = None) -> MemoryCache:
        """That of a memory, from its features (B, L, d), so that a network computes them once."""
        source = without(memory, padding_mask)
        _, k, v, real = self._query_slots(source, source, padding_mask)
        return MemoryCache(len(k), k=k, v=v, real=real)

    def prefill(self, state: Tensor | Features, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: theta (B, N, d) in rad, or its features -> dtheta (B, N, d); the cache of none yet
        is filled. ValueError for a head that is not causal.
        """
        checks.decodes(self.causal, what="head")
        check_own(cache)
        state = features(state)
        _, k, v, _ = self._query_slots(state, None, None)
        cache["k"].fill(k)
        cache["v"].fill(v)
        cache["last"] = state.joined()[:, -1:]
        return self.couple(state)

    def step(self, state: Tensor | Features, cache: dict[str, Any]) -> Tensor:
        """One token: theta (B, d) in rad, or its features -> dtheta (B, d).

        Its slot joins the cache, unless that is of a memory.

        Raises ValueError for a head that is not causal, where the cache is not of a memory, and for another batch.
        """
        state = features(state)
        checks.same_batch("the token", state.cos, cache["k"])
        state = Features(state.cos[:, None], state.sin[:, None])
        (q, k), powers = self._query_key(state), self._powers(state)
        if "real" in cache:
            k, v = cache["k"][:, None], cache["v"][:, None]
            mixed = softmax_attention(q[:, None], k, v, self.scale, causal=False, key_mask=cache["real"])
            return self._read(mixed[:, 0], powers)[:, 0]
        checks.decodes(self.causal, what="head")
        v = self._values(powers)
        v = v if cache["k"].length else torch.zeros_like(v)  # slot 0 is the null slot
        last, cache["last"] = cache["last"], k
        k, v = cache["k"].append(last), cache["v"].append(v)
        weights = torch.softmax(q @ k.mT * self.scale, dim=-1)
        return self._read(weights @ v, powers)[:, 0]

    def _pairs(self, memory: Features | None) -> tuple[bool, int | None]:
        """`causal` and `barred` of `softmax_attention`: where slots are not shifted, token t is in slot t + 1."""
        causal = self.causal and memory is None
        return causal, 1 if memory is None and not causal else None

    def _query_slots(
        self, state: Features, memory: Features | None, padding_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """q (B, N, 2d), keys (B, S, 2d) and values (B, S, M 2 d') of the slots, and which are not of padding (B, S)."""
        q, k = self._query_key(state)
        source = state if memory is None else memory
        v = self._values(self._powers(source))
        if self.causal and memory is None:  # slot u holds token u - 1, and its successor u
            k, v = later(k), F.pad(v[:, 1:], (0, 0, 1, 0))
            padding_mask = None if padding_mask is None else padding_mask[:, :-1]
        else:
            k = k if memory is None else memory.joined()
            k, v = F.pad(k, (0, 0, 1, 0)), F.pad(earlier(v), (0, 0, 1, 0))
        return q, k, v, None if padding_mask is None else F.pad(padding_mask, (1, 0), value=True)

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
