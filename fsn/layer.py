"""A layer of the FSN: mixers that couple tokens, and a feed-forward, all of them increments of the phases.

Source: arXiv 2606.18694. Which layers have local coupling and copying heads, and how a decoder couples to an encoder
beside its own coupling, are our choices.

Legend: B batch, N tokens, M tokens of a memory, d phases, theta (B, N, d) state in rad.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fsn.attention import SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling
from fsn.modes import CollectiveModes
from fsn.phases import Features, Observed, features
from synchrony_blocks import checks
from synchrony_blocks.decoder import STEPS
from synchrony_blocks.swiglu import SwiGLU


class PhaseSwiGLU(nn.Module):
    """SwiGLU from what it sees of a state to phase increments: theta (..., d) -> (..., d)."""

    def __init__(self, n_phases: int, width: int, n_layers: int, quadratures: int = 2) -> None:
        super().__init__()
        self.observed = Observed(n_phases, quadratures)
        self.swiglu = SwiGLU(self.observed.width, width, n_phases)
        # The mean square of a feature is 1/2 (our choice, as is the division by the depth).
        nn.init.normal_(self.swiglu.gate_up.weight, std=(self.observed.width / 2) ** -0.5)
        nn.init.normal_(self.swiglu.down.weight, std=(2 * n_layers * width) ** -0.5)

    def couple(self, state: Features) -> Tensor:
        """dtheta (..., d) from the features of theta."""
        return self.swiglu(self.observed(state))


def limited(increment: Tensor, limit: float) -> Tensor:
    """x (..., d) -> x / sqrt(1 + mean_c x_c^2 / limit^2): its root mean square over the phases stays below `limit` in
    rad, and one that is far below stays as it is.

    Our choice. For increments larger than a turn the gradient gives no direction, so nothing reduces them: at a high
    rate those of the first layer run away (EXPERIMENTS.md).
    """
    return increment * torch.rsqrt(1 + (increment / limit).square().mean(-1, keepdim=True))


class FSNLayer(nn.Module):
    """theta + mixers(theta), then theta + crosses(theta), then theta + feed_forward(theta): each reads the state only
    through its features.

    The mixers couple tokens: attention or local coupling, and a copying head beside it where there is one. In a
    translator's decoder the crosses couple to a memory: `cross`, and `cross_copying` beside it. Their increments add
    up. `increment_limit`: see `limited`. `dropout` is the share of an increment's numbers that training leaves out:
    those phases stay where they are (ours). Raises ValueError for a limit that is not between 0.001 and 1000.
    """

    def __init__(
        self,
        mixer: SynchronizationAttention | LocalCoupling,
        feed_forward: PhaseSwiGLU | CollectiveModes,
        copying: CopyingHead | None = None,
        *,
        cross: SynchronizationAttention | None = None,
        cross_copying: CopyingHead | None = None,
        increment_limit: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if increment_limit is not None:
            checks.number(
                "increment_limit", increment_limit, lambda x: 1e-3 <= x <= 1e3, "is not between 0.001 and 1000"
            )
        self.mixer = mixer
        self.copying = copying
        self.cross = cross
        self.cross_copying = cross_copying
        self.feed_forward = feed_forward
        self.increment_limit = increment_limit
        self.dropout = nn.Dropout(dropout)

    def mixers(self) -> dict[str, SynchronizationAttention | LocalCoupling | CopyingHead]:
        """What couples tokens, by its name in the layer."""
        return {"mixer": self.mixer} | ({} if self.copying is None else {"copying": self.copying})

    def crosses(self) -> dict[str, SynchronizationAttention | CopyingHead]:
        """What couples to a memory, by its name in the layer."""
        named = {"cross": self.cross, "cross_copying": self.cross_copying}
        return {name: cross for name, cross in named.items() if cross is not None}

    def forward(
        self, theta: Tensor, *, memory: Tensor | Features | None = None, padding_mask: Tensor | None = None
    ) -> Tensor:
        """theta (B, N, d) in rad -> theta after all increments. `memory`: an encoder's phases (B, M, d), or their
        features, which a network computes once. What is raised: see `SynchronizationAttention`.

        `padding_mask` (B, M) bool of the memory or, where there is none, of theta: True for a real token.
        """
        known = memory.cos if isinstance(memory, Features) else memory
        checks.sequences("theta", theta, known, padding_mask, self.mixer.n_phases)
        if memory is not None:
            if not self.crosses():
                raise ValueError("memory is for a layer with a cross: give the layer one, or leave memory out")
            memory = features(memory)
        state, own_mask = features(theta), padding_mask if memory is None else None
        for mixer in self.mixers().values():
            theta = theta + self.dropout(mixer.couple(state, padding_mask=own_mask))
        if memory is not None:
            state = features(theta)
            for cross in self.crosses().values():
                theta = theta + self.dropout(cross.couple(state, memory, padding_mask))
        return theta + self.dropout(self._fed(theta))

    def init_cache(
        self, batch_size: int, *, memory: Features | None = None, padding_mask: Tensor | None = None
    ) -> dict[str, Any]:
        """The caches of the mixers, of no token yet, and of the crosses, of all the memory."""
        own = {name: mixer.init_cache(batch_size) for name, mixer in self.mixers().items()}
        if memory is None:
            return own
        return own | {name: cross.memory_cache(memory, padding_mask) for name, cross in self.crosses().items()}

    def step(self, theta: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: theta (B, d), the caches are updated in place. Without dropout."""
        state = features(theta)
        for name, mixer in self.mixers().items():
            theta = theta + mixer.step(state, cache[name])
        if crosses := self.crosses():
            state = features(theta)
            for name, cross in crosses.items():
                theta = theta + cross.step(state, cache[name])
        return theta + self._fed(theta)

    def prefill(self, theta: Tensor, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: theta (B, N, d), the caches of none yet are filled. ValueError with crosses."""
        if self.crosses():
            raise ValueError(STEPS)
        state = features(theta)
        for name, mixer in self.mixers().items():
            theta = theta + mixer.prefill(state, cache[name])
        return theta + self._fed(theta)

    def _fed(self, theta: Tensor) -> Tensor:
        """The feed-forward's increments dtheta (..., d) of theta (..., d)."""
        increment = self.feed_forward.couple(features(theta))
        return increment if self.increment_limit is None else limited(increment, self.increment_limit)

    def diagnostics(self, theta: Tensor) -> dict[str, Tensor]:
        """What the mixers do with theta (B, N, d): their heads one after another."""
        state = features(theta)
        found = [mixer.diagnostics(state) for mixer in self.mixers().values()]
        return {name: torch.cat([of_mixer[name] for of_mixer in found], dim=1) for name in found[0]}


@dataclass(frozen=True)
class LayerForm:
    """What the layers of a network are made of; the keywords of `FSN`.

    The first `local_layers` layers have local coupling in place of attention, the last `copying_layers` a copying head.
    """

    harmonics: int = 1
    delay: bool = True
    frustration: bool = True
    kernel: str = "shared"
    coupling: float = 0.5
    gate: str = "content"
    gate_spread: float = 1.0
    null: str = "zero"
    feed_forward: str = "swiglu"
    rope_base: float = 10_000.0
    local_layers: int = 1
    reach: int = 8
    local_coupling: float = 0.75
    copying_layers: int = 1
    copying_share: float = 0.5
    copying_gate: float = 2.0
    copying_coupling: float = 1.0
    quadratures: int = 1
    increment_limit: float | None = None

    def layers(
        self,
        n_phases: int,
        n_layers: int,
        n_heads: int,
        ff_width: int | None,
        *,
        causal: bool = True,
        copying: bool = True,
        cross: bool = False,
        dropout: float = 0.0,
    ) -> list[FSNLayer]:
        """The layers of a network.

        `copying`: the copying heads are beside the layers' own attention; `cross`: layers couple to a memory too, and
        their copying heads do so instead. Raises ValueError for an impossible shape or an unknown feed_forward.
        """
        if self.feed_forward not in ("swiglu", "mean_field", "native"):
            raise ValueError(f"feed_forward={self.feed_forward!r} is not one of 'swiglu', 'mean_field', 'native'")
        checks.sizes(n_phases=n_phases, n_layers=n_layers, n_heads=n_heads)
        checks.whole("ff_width", ff_width, 1, optional=True)
        if n_phases % n_heads:
            raise ValueError(f"{n_phases} phases do not split into {n_heads} heads")
        for name in ("local_layers", "copying_layers"):
            some = getattr(self, name)
            if not 0 <= some <= n_layers:
                raise ValueError(f"{name}={some} is not between 0 and n_layers={n_layers}")
        ff_width = ff_width or 2 * n_phases
        layers = []
        for number in range(n_layers):
            mixer: SynchronizationAttention | LocalCoupling
            if number < self.local_layers:
                coupling = self.local_coupling
                mixer = LocalCoupling(
                    n_phases, self.reach, self.harmonics, coupling=coupling, kernel=self.kernel, causal=causal
                )
            else:
                mixer = self._attention(n_phases, n_heads, causal=causal)
            attention = self._attention(n_phases, n_heads, causal=False, predecessor=False) if cross else None
            copies = number >= n_layers - self.copying_layers and (copying or cross)
            head = self._copying(n_phases, causal=causal and not cross) if copies else None
            block = (
                PhaseSwiGLU(n_phases, ff_width, n_layers, self.quadratures)
                if self.feed_forward == "swiglu"
                else CollectiveModes(
                    n_phases, ff_width, weighted=self.feed_forward == "native", quadratures=self.quadratures
                )
            )
            heads = {"cross_copying" if cross else "copying": head}
            layers.append(
                FSNLayer(mixer, block, cross=attention, increment_limit=self.increment_limit, dropout=dropout, **heads)
            )
        return layers

    def _attention(self, n_phases: int, n_heads: int, **form: Any) -> SynchronizationAttention:
        return SynchronizationAttention(
            n_phases,
            n_heads,
            self.harmonics,
            self.delay,
            frustration=self.frustration,
            kernel=self.kernel,
            coupling=self.coupling,
            gate=self.gate,
            gate_spread=self.gate_spread,
            null=self.null,
            rope_base=self.rope_base,
            quadratures=self.quadratures,
            **form,
        )

    def _copying(self, n_phases: int, causal: bool) -> CopyingHead:
        share, coupling, gate = self.copying_share, self.copying_coupling, self.copying_gate
        return CopyingHead(n_phases, share=share, coupling=coupling, gate=gate, causal=causal)
