"""The Frustrated Synchronization Network: a language model whose only residual stream is a torus of phases.

Source: arXiv 2606.18694. Its width, depth and initialisation are not public: those here are our choices.

Legend: B batch, N tokens, d phases, V vocabulary, theta (B, N, d) state in rad.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.decoder import Decoder
from blocks.swiglu import SwiGLU
from fsn.attention import SynchronizationAttention
from fsn.modes import CollectiveModes
from fsn.phases import Features, features


class PhaseSwiGLU(nn.Module):
    """SwiGLU from the features of a state to phase increments: (..., 2d) -> (..., d)."""

    def __init__(self, n_phases: int, width: int, n_layers: int) -> None:
        super().__init__()
        self.swiglu = SwiGLU(2 * n_phases, width, n_phases)
        # Features have a mean square of 1/2, so d of their 2d count (our choice, as is the division by the depth).
        nn.init.normal_(self.swiglu.gate_up.weight, std=n_phases**-0.5)
        nn.init.normal_(self.swiglu.down.weight, std=(2 * n_layers * width) ** -0.5)

    def couple(self, state: Features) -> Tensor:
        """dtheta (..., d) from the features of theta."""
        return self.swiglu(state.joined())


class FSNLayer(nn.Module):
    """theta + mixer(theta), then theta + feed_forward(theta): each reads the state only through its features."""

    def __init__(self, mixer: SynchronizationAttention, feed_forward: PhaseSwiGLU | CollectiveModes) -> None:
        super().__init__()
        self.mixer = mixer
        self.feed_forward = feed_forward

    def forward(self, theta: Tensor) -> Tensor:
        """theta (B, N, d) in rad -> theta after both increments."""
        theta = theta + self.mixer.couple(features(theta))
        return theta + self.feed_forward.couple(features(theta))

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """The mixer's cache, of no token yet."""
        return self.mixer.init_cache(batch_size)

    def step(self, theta: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: theta (B, d), the mixer's cache is updated in place."""
        theta = theta + self.mixer.step(features(theta), cache)
        return theta + self.feed_forward.couple(features(theta))

    def diagnostics(self, theta: Tensor) -> dict[str, Tensor]:
        """What the mixer does with theta (B, N, d)."""
        return self.mixer.diagnostics(features(theta))


class FSN(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    `ff_width` is the SwiGLU width, or the number of collective modes for `feed_forward="native"`. The readout is
    logits = W [cos theta, sin theta], or tied to the embedding's phases (one learned inverse temperature). The
    embedding's phases start uniform in +-pi (j / d_h)^grading for coordinate j = 1..d_h of a head. Where `grading` is
    not 0, the coordinates of fastest rotary drift begin nearly alike for all tokens: they tell positions apart, the
    slower ones contents (our choice, see EXPERIMENTS.md).
    Raises ValueError for an impossible shape or an unknown feed_forward or readout.
    """

    def __init__(
        self,
        vocabulary_size: int = 256,
        n_phases: int = 128,
        n_layers: int = 4,
        n_heads: int = 1,
        ff_width: int | None = None,
        *,
        harmonics: int = 2,
        delay: bool = True,
        frustration: bool = True,
        kernel: str = "shared",
        coupling: float = 0.5,
        gate: str = "content",
        gate_spread: float = 1.0,
        null: str = "zero",
        feed_forward: str = "swiglu",
        readout: str = "linear",
        grading: float = 1.0,
        rope_base: float = 10_000.0,
    ) -> None:
        if feed_forward not in ("swiglu", "native"):
            raise ValueError(f"feed_forward={feed_forward!r} is neither 'swiglu' nor 'native'")
        if readout not in ("linear", "tied"):
            raise ValueError(f"readout={readout!r} is neither 'linear' nor 'tied'")
        if n_phases % n_heads:
            raise ValueError(f"{n_phases} phases do not split into {n_heads} heads")
        ff_width = ff_width or 2 * n_phases
        embedding = nn.Embedding(vocabulary_size, n_phases)
        nn.init.uniform_(embedding.weight, -math.pi, math.pi)
        d_h = n_phases // n_heads
        embedding.weight.data *= ((torch.arange(1, d_h + 1) / d_h) ** grading).repeat(n_heads)
        layers = []
        for _ in range(n_layers):
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
            )
            native = feed_forward == "native"
            block = CollectiveModes(n_phases, ff_width) if native else PhaseSwiGLU(n_phases, ff_width, n_layers)
            layers.append(FSNLayer(mixer, block))
        super().__init__(embedding, layers, norm=None)  # phases are read through their features, which are bounded
        if readout == "linear":
            self.readout: nn.Linear | None = nn.Linear(2 * n_phases, vocabulary_size, bias=False)
            nn.init.normal_(self.readout.weight, std=0.02)  # our choice: first predictions are nearly uniform
        else:
            self.readout = None
            self.readout_scale = nn.Parameter(torch.tensor(n_phases**-0.5))

    def readouts(self) -> list[Tensor]:
        """An untied readout, which may take a rate of its own."""
        return [] if self.readout is None else [self.readout.weight]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of final states theta (..., d)."""
        joined = features(hidden).joined()
        if self.readout is not None:
            return self.readout(joined)
        return F.linear(joined, self.readout_scale * features(self.embedding.weight).joined())
