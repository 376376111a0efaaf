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
from torch.types import Device

from fsn.layer import LayerForm
from fsn.phase_bands import PhaseBands
from fsn.phases import features
from synchrony_blocks import checks
from synchrony_blocks.adaptive import Bands
from synchrony_blocks.decoder import Decoder


class FSN(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    `feed_forward` is "swiglu", or has collective modes (fsn/modes.py): "native" in the weighted form, "mean_field" in
    the plain one. `ff_width` is the SwiGLU width, or the number of modes. The readout is logits = W [cos theta, sin
    theta], or tied to the embedding's phases (one learned inverse temperature). The embedding's phases start uniform
    in +-pi (j / d_h)^grading for coordinate j = 1..d_h of a head. Where `grading` is not 0, the coordinates of fastest
    rotary drift begin nearly alike for all tokens: they tell positions apart, the slower ones contents (our choice,
    see EXPERIMENTS.md). Further keywords are those of `fsn.layer.LayerForm`. With `cutoffs` the vocabulary is read and
    predicted in bands (fsn/phase_bands.py, synchrony_blocks/adaptive.py), each narrower than the last by `div_value`.
    `cross`: layers couple to a memory too, which makes it the decoder of a translator. `dropout`: of increments;
    phases of the embedding are left whole (ours).
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
        readout: str = "linear",
        grading: float = 2.0,
        cutoffs: Sequence[int] = (),
        div_value: int = 4,
        cross: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **form: Any,
    ) -> None:
        if readout not in ("linear", "tied"):
            raise ValueError(f"readout={readout!r} is neither 'linear' nor 'tied'")
        checks.sizes(vocabulary_size=vocabulary_size, n_phases=n_phases, n_layers=n_layers, n_heads=n_heads)
        checks.number("grading", grading, lambda x: 0 <= x < math.inf, "is not a number from 0 on")
        if n_phases % n_heads:
            raise ValueError(f"{n_phases} phases do not split into {n_heads} heads")
        if cutoffs and readout == "tied":
            raise ValueError("cutoffs are of an untied readout: give readout='linear', or no cutoffs")
        d_h = n_phases // n_heads
        # On the CPU, wherever the weights are: on the meta device this alone would load the compiler.
        spread = ((torch.arange(1, d_h + 1, device="cpu") / d_h) ** grading).repeat(n_heads)
        if cutoffs:
            embedding: nn.Module = PhaseBands(spread, vocabulary_size, cutoffs, div_value)
        else:
            embedding = table = nn.Embedding(vocabulary_size, n_phases)
            nn.init.uniform_(table.weight, -math.pi, math.pi)
            table.weight.data *= spread.to(table.weight.device)
        layers = LayerForm(**form).layers(n_phases, n_layers, n_heads, ff_width, cross=cross, dropout=dropout)
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
