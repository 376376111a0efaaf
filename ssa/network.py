"""The Oscillatory Synchronization Network: the pre-norm decoder with Selective Synchronization Attention as its mixer.

Source: arXiv 2602.14445. Shape, start and the causal mixer are our choices; see `ssa.attention`.

Legend: B batch, N tokens, D = d_model, H heads, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.adaptive import TiedBands
from blocks.decoder import Decoder, DecoderBlock
from blocks.swiglu import SwiGLU
from ssa import checks
from ssa.attention import SelectiveSynchronizationAttention
from ssa.start import Positions, Start

# Random tokens that a new network is calibrated on, in several sequences, which differ by more than chance within one
# would have it.
SAMPLE = 4096
POSITIONS = Positions(position_share=(0.3, 0.98), lag=1.0)  # our choice, measured in EXPERIMENTS.md


class GELU(nn.Module):
    """The published feed-forward, without bias: (..., D) -> (..., D) through `width` units."""

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, width, bias=False)
        self.down = nn.Linear(width, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        return self.down(F.gelu(self.up(x)))


class OSNBlock(DecoderBlock):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): (B, N, D) -> (B, N, D).

    `feed_forward`: "gelu" as published, "swiglu" as the transformer has it; `ff_width` by default 4 D, or 8/3 D, which
    are the same number of parameters. Keywords that are not named here go to the attention.
    Raises ValueError for an unknown feed_forward, and what the attention raises.

    `delayed_heads` gives order that is not in the frequencies: keys of these heads are those of the token before.
    """

    mixer: SelectiveSynchronizationAttention

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        ff_width: int | None = None,
        causal: bool = True,
        *,
        feed_forward: str = "gelu",
        **attention: Any,
    ) -> None:
        if feed_forward == "gelu":
            block: nn.Module = GELU(d_model, ff_width or 4 * d_model)
        elif feed_forward == "swiglu":
            block = SwiGLU(d_model, ff_width or round(8 * d_model / 3), d_model)
        else:
            raise ValueError(f"feed_forward={feed_forward!r} is neither 'gelu' nor 'swiglu'")
        super().__init__(d_model, SelectiveSynchronizationAttention(d_model, n_heads, causal, **attention), block)

    def forward(
        self, x: Tensor, *, memory: Tensor | None = None, padding_mask: Tensor | None = None, offset: int = 0
    ) -> Tensor:
        """x (B, N, D) -> (B, N, D). `memory` (B, M, D), taken as it is, `padding_mask` (B, M) and `offset` as for the
        attention; what it says of padded rows holds for what it adds to x.
        """
        x = x + self.mixer(self.mixer_norm(x), memory=memory, padding_mask=padding_mask, offset=offset)
        return x + self.feed_forward(self.feed_forward_norm(x))


class OSN(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    Further keywords are those of `OSNBlock`, of its attention, and, one by one, of `Positions` and `Start`.
    By default queries of head h stand h tokens back, positions take 0.3 of the first head's frequencies to 0.98 of the
    last one's, and the first head's keys are delayed; `lag=0, delayed_heads=0` leaves queries and keys where they are,
    as in the paper. `position=False`: no positional part, and no lag. `start`: "calibrated" or "published".
    `calibration_length`: tokens of the sequences it will be trained on. With `cutoffs` the vocabulary is read and
    predicted in bands (blocks/adaptive.py), each narrower than the last by `div_value`.

    Raises ValueError for a block that knows the future (causal=False), for a lag without positions, and what the block
    raises.

    Starts like the transformer: normal weights with standard deviation fan_in^(-1/2), residual projections over
    sqrt(2 n_layers). Then each layer's alpha and K are set on random tokens so that the chosen share of pairs locks.
    """

    def __init__(
        self,
        vocabulary_size: int = 256,
        d_model: int = 128,
        n_layers: int = 4,
        n_heads: int = 4,
        ff_width: int | None = None,
        *,
        position: bool = True,
        start: str = "calibrated",
        cutoffs: Sequence[int] = (),
        div_value: int = 4,
        **options: Any,
    ) -> None:
        checks.switch("position", position)
        checks.word("start", start, ("calibrated", "published"))
        if not options.get("causal", True):
            raise ValueError("a language model must not know the future: leave out causal=False")
        if not position and options.get("lag"):
            raise ValueError(f"lag={options['lag']} needs positions: leave it out, or position=False")
        positions = replace(POSITIONS, **_taken(Positions, options))
        begin = Start(calibrated=start == "calibrated", **_taken(Start, options))
        options = {"delayed_heads": 1} | options
        layers = [
            OSNBlock(d_model, n_heads, ff_width, positions=positions if position else None, start=begin, **options)
            for _ in range(n_layers)
        ]
        bands = TiedBands(d_model, vocabulary_size, cutoffs, div_value) if cutoffs else None
        super().__init__(bands or nn.Embedding(vocabulary_size, d_model), layers, nn.RMSNorm(d_model))
        if bands is not None:
            bands.start(std=d_model**-0.5)
        else:
            nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        for layer in layers:
            for name, parameter in layer.feed_forward.named_parameters():
                deep = (2 * n_layers) ** -0.5 if name.startswith("down") else 1.0
                nn.init.normal_(parameter, std=deep * parameter.shape[1] ** -0.5)
            layer.mixer.out.weight.data *= (2 * n_layers) ** -0.5
        device = next(self.parameters()).device
        if begin.calibrated and device.type != "meta":
            generator = torch.Generator().manual_seed(0)
            shape = (max(1, SAMPLE // begin.calibration_length), begin.calibration_length)
            tokens = torch.randint(0, vocabulary_size, shape, generator=generator, device="cpu")
            self.calibrate(tokens.to(device))

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Calibrate every attention on what it gets of tokens (B, N), from the first layer to the last."""
        x = self.embedding(tokens)
        for layer in cast(Iterable[OSNBlock], self.layers):
            layer.mixer.calibrate(layer.mixer_norm(x))
            x = layer(x)


def _taken(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass among the options, which lose them."""
    return {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
