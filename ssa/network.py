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
from torch.types import Device

from ssa import checks
from ssa.attention import SelectiveSynchronizationAttention
from ssa.start import Positions, Start
from synchrony_blocks.adaptive import TiedBands
from synchrony_blocks.configured import Configured
from synchrony_blocks.decoder import Decoder, DecoderBlock
from synchrony_blocks.swiglu import SwiGLU

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


class OSNBlock(Configured, DecoderBlock):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): (B, N, D) -> (B, N, D).

    `feed_forward`: "gelu" as published, "swiglu" as the transformer has it; `ff_width` by default 4 D, or 8/3 D, which
    are the same number of parameters. `cross`: with attention to a memory between the two, its options those of the
    other. Keywords that are not named here go to the attention.
    Raises ValueError for an unknown feed_forward, and what the attention raises.

    `delayed_heads` gives order that is not in the frequencies: keys of these heads are those of the token before.

    The forward pass takes `memory` (B, M, D), as it is, `padding_mask` (B, M) and `offset` as the attention does, that
    to the memory where there is one; what it says of padded rows holds for what it adds to x.
    """

    mixer: SelectiveSynchronizationAttention
    cross: SelectiveSynchronizationAttention | None

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        ff_width: int | None = None,
        causal: bool = True,
        *,
        feed_forward: str = "gelu",
        cross: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **attention: Any,
    ) -> None:
        if feed_forward == "gelu":
            block: nn.Module = GELU(d_model, ff_width or 4 * d_model)
        elif feed_forward == "swiglu":
            block = SwiGLU(d_model, ff_width or round(8 * d_model / 3), d_model)
        else:
            raise ValueError(f"feed_forward={feed_forward!r} is neither 'gelu' nor 'swiglu'")
        own = SelectiveSynchronizationAttention(d_model, n_heads, causal, **attention)
        other = SelectiveSynchronizationAttention(d_model, n_heads, causal=False, **attention) if cross else None
        super().__init__(d_model, own, block, cross=other, dropout=dropout)


class OSN(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    Further keywords are those of `OSNBlock`, of its attention, and, one by one, of `Positions` and `Start`.
    By default queries of head h take a position h tokens back, positions take 0.3 of the first head's frequencies to
    0.98 of the last one's, and the first head's keys are delayed; `lag=0, delayed_heads=0` leaves queries and keys
    where they are, as in the paper. `position=False`: no positional part, and no lag. `start`: "calibrated" or
    "published". `calibration_length`: tokens of the sequences it will be trained on. With `cutoffs` the vocabulary is
    read and predicted in bands (synchrony_blocks/adaptive.py), each narrower than the last by `div_value`. `cross`:
    layers attend to a memory too, which makes it the decoder of a translator, which calibrates it. `dropout`: of
    embeddings and of increments.

    Raises ValueError for a block that knows the future (causal=False), for a lag without positions, and what the block
    raises.

    Starts like the transformer: normal weights with standard deviation fan_in^(-1/2), residual projections over the
    root of their number. Then each layer's alpha and K are set on random tokens so that the chosen share of pairs
    locks.
    """

    def __init__(
        self,
        vocabulary_size: int = 256,
        d_model: int = 128,
        n_layers: int = 4,
        n_heads: int = 4,
        ff_width: int | None = None,
        *,
        cutoffs: Sequence[int] = (),
        div_value: int = 4,
        cross: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        if not options.get("causal", True):
            raise ValueError("a language model must not know the future: leave out causal=False")
        checks.sizes(vocabulary_size=vocabulary_size, d_model=d_model, n_layers=n_layers, n_heads=n_heads)
        checks.whole("ff_width", ff_width, 1, optional=True)
        options = block_options(**options)
        shape = d_model, n_heads, ff_width
        layers = [OSNBlock(*shape, cross=cross, dropout=dropout, **options) for _ in range(n_layers)]
        bands = TiedBands(d_model, vocabulary_size, cutoffs, div_value) if cutoffs else None
        embedding = bands or nn.Embedding(vocabulary_size, d_model)
        super().__init__(embedding, layers, nn.RMSNorm(d_model), dropout=dropout)
        if bands is not None:
            bands.start(std=d_model**-0.5)
        else:
            nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        initialise(layers, (3 if cross else 2) * n_layers)
        if not cross and (tokens := sample(options["start"], self.embedding)) is not None:
            self.calibrate(tokens)

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Calibrate every attention on what it gets of tokens (B, N), from the first layer to the last."""
        calibrate_layers(self.layers, self.embedding(tokens))


def block_options(*, position: bool = True, start: str = "calibrated", **options: Any) -> dict[str, Any]:
    """Keywords of `OSNBlock` from those of `OSN`. Raises ValueError for a lag without positions, or a wrong name."""
    checks.switch("position", position)
    checks.word("start", start, ("calibrated", "published"))
    if not position and options.get("lag"):
        raise ValueError(f"lag={options['lag']} needs positions: leave it out, or position=False")
    positions = replace(POSITIONS, **_taken(Positions, options))
    begin = Start(calibrated=start == "calibrated", **_taken(Start, options))
    return {"delayed_heads": 1, "positions": positions if position else None, "start": begin} | options


def initialise(layers: Iterable[nn.Module], n_residuals: int) -> None:
    """The weights of the feed-forwards, and residual projections, of which there are `n_residuals`, over its root."""
    deep = n_residuals**-0.5
    for layer in cast(Iterable[OSNBlock], layers):
        for name, parameter in layer.feed_forward.named_parameters():
            nn.init.normal_(parameter, std=(deep if name.startswith("down") else 1.0) * parameter.shape[1] ** -0.5)
        for attention in filter(None, (layer.mixer, layer.cross)):
            attention.out.weight.data *= deep


def sample(start: Start, embedding: Any, seed: int = 0) -> Tensor | None:
    """Random tokens (B, N) that a network is calibrated on, always the same; None where it is not."""
    device = next(embedding.parameters()).device
    if not start.calibrated or device.type == "meta":
        return None
    generator = torch.Generator().manual_seed(seed)
    shape = (max(1, SAMPLE // start.calibration_length), start.calibration_length)
    tokens = torch.randint(0, embedding.num_embeddings, shape, generator=generator, device="cpu")
    return tokens.to(device)


@torch.no_grad()
def calibrate_layers(layers: Iterable[nn.Module], x: Tensor, memory: Tensor | None = None) -> Tensor:
    """Calibrate every attention on what it gets of states x (B, N, D) and of a memory, from the first layer to the
    last, without dropout. Returns the states after that.
    """
    for layer in cast(Iterable[OSNBlock], layers):
        was_training = layer.training
        layer.eval()
        layer.mixer.calibrate(layer.mixer_norm(x))
        if layer.cross is None:
            x = layer(x)
        else:
            between = x + layer.mixer(layer.mixer_norm(x))
            layer.cross.calibrate(layer.cross_norm(between), memory)
            x = layer(x, memory=memory)
        layer.train(was_training)
    return x


def _taken(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass among the options, which lose them."""
    return {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
