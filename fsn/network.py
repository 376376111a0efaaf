"""The Frustrated Synchronization Network: a language model whose only residual stream is a torus of phases.

Source: arXiv 2606.18694. Its width, depth and initialisation are not public: those here are our choices.

Legend: B batch, N tokens, d phases, V vocabulary, theta (B, N, d) state in rad.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.adaptive import Bands
from blocks.decoder import Decoder
from blocks.swiglu import SwiGLU
from fsn.attention import SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling
from fsn.modes import CollectiveModes
from fsn.phase_bands import PhaseBands
from fsn.phases import Features, Observed, features


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


class FSNLayer(nn.Module):
    """theta + mixers(theta), then theta + feed_forward(theta): each reads the state only through its features.

    The mixers couple tokens: attention or local coupling, and a copying head beside it where there is one. Their
    increments add up.
    """

    def __init__(
        self,
        mixer: SynchronizationAttention | LocalCoupling,
        feed_forward: PhaseSwiGLU | CollectiveModes,
        copying: CopyingHead | None = None,
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.copying = copying
        self.feed_forward = feed_forward

    def mixers(self) -> dict[str, SynchronizationAttention | LocalCoupling | CopyingHead]:
        """What couples tokens, by its name in the layer."""
        return {"mixer": self.mixer} | ({} if self.copying is None else {"copying": self.copying})

    def forward(self, theta: Tensor) -> Tensor:
        """theta (B, N, d) in rad -> theta after all increments."""
        state = features(theta)
        for mixer in self.mixers().values():
            theta = theta + mixer.couple(state)
        return theta + self.feed_forward.couple(features(theta))

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """The caches of the mixers, of no token yet."""
        return {name: mixer.init_cache(batch_size) for name, mixer in self.mixers().items()}

    def step(self, theta: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: theta (B, d), the mixers' caches are updated in place."""
        state = features(theta)
        for name, mixer in self.mixers().items():
            theta = theta + mixer.step(state, cache[name])
        return theta + self.feed_forward.couple(features(theta))

    def diagnostics(self, theta: Tensor) -> dict[str, Tensor]:
        """What the mixers do with theta (B, N, d): their heads one after another."""
        state = features(theta)
        found = [mixer.diagnostics(state) for mixer in self.mixers().values()]
        return {name: torch.cat([of_mixer[name] for of_mixer in found], dim=1) for name in found[0]}


class FSN(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    `ff_width` is the SwiGLU width, or the number of collective modes for `feed_forward="native"`. The readout is
    logits = W [cos theta, sin theta], or tied to the embedding's phases (one learned inverse temperature). The
    embedding's phases start uniform in +-pi (j / d_h)^grading for coordinate j = 1..d_h of a head. Where `grading` is
    not 0, the coordinates of fastest rotary drift begin nearly alike for all tokens: they tell positions apart, the
    slower ones contents (our choice, see EXPERIMENTS.md). The first `local_layers` layers have local coupling in place
    of attention, the last `copying_layers` a copying head beside it (ours). With `cutoffs` the vocabulary is read and
    predicted in bands (fsn/phase_bands.py, blocks/adaptive.py), each narrower than the last by `div_value`.
    Raises ValueError for an impossible shape, an unknown feed_forward or readout, and for cutoffs with a tied one.
    """

    def __init__(
        self,
        vocabulary_size: int = 256,
        n_phases: int = 128,
        n_layers: int = 4,
        n_heads: int = 1,
        ff_width: int | None = None,
        *,
        harmonics: int = 1,
        delay: bool = True,
        frustration: bool = True,
        kernel: str = "shared",
        coupling: float = 0.5,
        gate: str = "content",
        gate_spread: float = 1.0,
        null: str = "zero",
        feed_forward: str = "swiglu",
        readout: str = "linear",
        grading: float = 2.0,
        rope_base: float = 10_000.0,
        local_layers: int = 1,
        reach: int = 8,
        local_coupling: float = 0.75,
        copying_layers: int = 1,
        copying_share: float = 0.5,
        copying_gate: float = 2.0,
        copying_coupling: float = 1.0,
        quadratures: int = 1,
        cutoffs: Sequence[int] = (),
        div_value: int = 4,
    ) -> None:
        if feed_forward not in ("swiglu", "native"):
            raise ValueError(f"feed_forward={feed_forward!r} is neither 'swiglu' nor 'native'")
        if readout not in ("linear", "tied"):
            raise ValueError(f"readout={readout!r} is neither 'linear' nor 'tied'")
        if n_phases % n_heads:
            raise ValueError(f"{n_phases} phases do not split into {n_heads} heads")
        for name, some in (("local_layers", local_layers), ("copying_layers", copying_layers)):
            if not 0 <= some <= n_layers:
                raise ValueError(f"{name}={some} is not between 0 and the {n_layers} layers there are")
        ff_width = ff_width or 2 * n_phases
        if cutoffs and readout == "tied":
            raise ValueError("cutoffs are of an untied readout: give readout='linear', or no cutoffs")
        d_h = n_phases // n_heads
        spread = ((torch.arange(1, d_h + 1) / d_h) ** grading).repeat(n_heads)
        if cutoffs:
            embedding: nn.Module = PhaseBands(spread, vocabulary_size, cutoffs, div_value)
        else:
            embedding = table = nn.Embedding(vocabulary_size, n_phases)
            nn.init.uniform_(table.weight, -math.pi, math.pi)
            table.weight.data *= spread
        layers = []
        for number in range(n_layers):
            mixer: SynchronizationAttention | LocalCoupling
            if number < local_layers:
                mixer = LocalCoupling(n_phases, reach, harmonics, coupling=local_coupling, kernel=kernel)
            else:
                mixer = SynchronizationAttention(
                    n_phases,
                    n_heads,
                    harmonics,
                    delay,
                    frustration=frustration,
                    kernel=kernel,
                    coupling=coupling,
                    gate=gate,
                    gate_spread=gate_spread,
                    null=null,
                    rope_base=rope_base,
                    quadratures=quadratures,
                )
            copying = None
            if number >= n_layers - copying_layers:
                copying = CopyingHead(n_phases, share=copying_share, coupling=copying_coupling, gate=copying_gate)
            native = feed_forward == "native"
            block = (
                CollectiveModes(n_phases, ff_width)
                if native
                else PhaseSwiGLU(n_phases, ff_width, n_layers, quadratures)
            )
            layers.append(FSNLayer(mixer, block, copying))
        super().__init__(embedding, layers, norm=None)  # phases are read through their features, which are bounded
        self.readout: Any  # a linear map, bands, or None: tied
        if cutoffs:
            self.readout = bands = Bands(2 * n_phases, vocabulary_size, cutoffs, div_value)
            bands.start(std=0.02)
        elif readout == "linear":
            self.readout = linear = nn.Linear(2 * n_phases, vocabulary_size, bias=False)
            nn.init.normal_(linear.weight, std=0.02)  # our choice: first predictions are nearly uniform
        else:
            self.readout = None
            self.readout_scale = nn.Parameter(torch.tensor(n_phases**-0.5))

    def readouts(self) -> list[Tensor]:
        """An untied readout, which may take a rate of its own; bands name theirs."""
        return [self.readout.weight] if isinstance(self.readout, nn.Linear) else []

    def seen(self, hidden: Tensor) -> Tensor:
        """What the readout sees of final states theta (..., d): [cos theta, sin theta] (..., 2d)."""
        return features(hidden).joined()

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of final states theta (..., d)."""
        if self.bands is not None:
            return super().logits(hidden)
        joined = self.seen(hidden)
        if self.readout is not None:
            logits: Tensor = self.readout(joined)
            return logits
        return F.linear(joined, self.readout_scale * features(self.embedding.weight).joined())
