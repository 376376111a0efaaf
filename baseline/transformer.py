"""RoPE-SwiGLU transformer: pre-RMSNorm, scaled dot-product attention, tied embeddings, no bias (Llama's block).

Legend: B batch, N tokens, H heads, d head width, D = H d width (d_model), V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from baseline.cross_attention import CrossAttention
from synchrony_blocks import checks
from synchrony_blocks.adaptive import TiedBands
from synchrony_blocks.cache import TokenBuffer
from synchrony_blocks.configured import Configured
from synchrony_blocks.decoder import Decoder, DecoderBlock
from synchrony_blocks.rotary import Rotary
from synchrony_blocks.swiglu import SwiGLU

LAG_LADDER = (8, 100.0)  # pairs and base of the ladder of positional parts: 1 to 0.02 rad a token (our choice)
LAG_STRENGTH = 6.0  # beta at the start: the token beside the peak weighs e^-4 of it (our choice, as FSN's lag heads)


class SelfAttention(Configured):
    """Multi-head attention with rotary positions: (B, N, D) -> (B, N, D). `causal`: of tokens u <= t, else of all.

    `delayed_heads` (our choice, for comparison with OSN): so many heads' keys have the content of the token before; the
    first token's are zero there. Olsson et al. 2022 ("In-context learning and induction heads") call such keys smeared.

    `lag_heads` (our choice, for comparison with FSN): so many heads add a positional part to their scores,
    sum_f beta_hf cos(nu_f (t - u) + psi_hf), which starts with its peak h tokens back for h = 0, 1, ... beta (H, F) and
    psi (H, F) are learned; nu is a rotary ladder of its own.
    Raises ValueError when d_model is not divisible by n_heads, the head width is odd, or delayed_heads or lag_heads is
    not between 0 and n_heads.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        rope_base: float = 10_000.0,
        delayed_heads: int = 0,
        lag_heads: int = 0,
        *,
        causal: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        checks.sizes(d_model=d_model, n_heads=n_heads)
        if d_model % n_heads or d_model // n_heads % 2:
            raise ValueError(f"width {d_model} does not split into n_heads={n_heads} of an even width")
        for name, heads in (("delayed_heads", delayed_heads), ("lag_heads", lag_heads)):
            if not 0 <= heads <= n_heads:
                raise ValueError(f"{name}={heads} is not between 0 and n_heads={n_heads}")
        self.n_heads, self.delayed_heads, self.lag_heads, self.causal = n_heads, delayed_heads, lag_heads, causal
        self.head_width = d_model // n_heads
        self.scale = self.head_width**-0.5
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.rotary = Rotary(d_model // n_heads // 2, rope_base)
        if lag_heads:
            self.lag_rotary = Rotary(*LAG_LADDER)
            self.lag_strength = nn.Parameter(torch.full((lag_heads, LAG_LADDER[0]), LAG_STRENGTH))
            lags = torch.arange(lag_heads)[:, None]
            self.lag_phase = nn.Parameter(-self.lag_rotary.drift.float() * lags)

    def phases(self) -> list[Tensor]:
        """Learned phases (rad), which take larger steps than weights."""
        return [self.lag_phase] if self.lag_heads else []

    def undecayed(self) -> list[Tensor]:
        """Parameters that weight decay must leave alone."""
        return [self.lag_strength, self.lag_phase] if self.lag_heads else []

    def forward(self, x: Tensor, *, padding_mask: Tensor | None = None) -> Tensor:
        """x (B, N, D) -> (B, N, D). `padding_mask` (B, N) bool, True for a real token, for a layer that is not causal:
        padding is not attended, and what it gets itself has no meaning. ValueError for a mask in a causal layer.
        """
        batch, length, width = x.shape
        allowed = None
        if padding_mask is not None:
            if self.causal:
                raise ValueError("padding_mask is for causal=False; behind a causal sequence padding changes nothing")
            x, allowed = x.masked_fill(~padding_mask[:, :, None], 0), padding_mask[:, None, None, :]
        q, k, v = self._projected(x)
        cos, sin = self.rotary.table(length, x.dtype)
        q, k = self.rotary.rotate(q, cos, sin), self.rotary.rotate(k, cos, sin)
        q, k, v = self._with_lags(q, k, v, 0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=self.causal, scale=self.scale)
        mixed = mixed[..., : self.head_width]
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))

    @torch.no_grad()
    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """attention (B, H, N, N): weight of each token for each query, from the dense matrix."""
        q, k, _ = self._projected(x)
        cos, sin = self.rotary.table(x.shape[1], x.dtype)
        q, k = self.rotary.rotate(q, cos, sin), self.rotary.rotate(k, cos, sin)
        q, k, _ = self._with_lags(q, k, k, 0)
        scores = q @ k.transpose(2, 3) * self.scale
        if self.causal:
            future = torch.ones(scores.shape[2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(future, float("-inf"))
        return {"attention": scores.softmax(-1)}

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, already delayed, and values, each (B, H, N, d)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        if self.delayed_heads:
            before = F.pad(k[:, : self.delayed_heads, :-1], (0, 0, 1, 0))
            k = torch.cat((before, k[:, self.delayed_heads :]), dim=1)
        return q, k, v

    def _with_lags(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v (B, H, N, d), with 2 F more coordinates for the positional part if any head has one: from token
        `start` on, q gets beta e^{i (nu t + psi)} and k gets e^{i nu u}. Values get zeros, as fused kernels ask for
        equal widths.
        """
        if not self.lag_heads:
            return q, k, v
        n, others = q.shape[2], self.n_heads - self.lag_heads
        cos, sin = self.lag_rotary.phase(start, start + n, q.dtype)
        strength = self.lag_strength / self.scale
        turned = torch.cat((strength * self.lag_phase.cos(), strength * self.lag_phase.sin()), dim=-1).to(q.dtype)
        query = self.lag_rotary.rotate(turned[:, None].expand(-1, n, -1), cos, sin)
        query = F.pad(query, (0, 0, 0, 0, 0, others)).expand(len(q), -1, -1, -1)
        key = torch.cat((cos, sin), dim=-1).expand(*k.shape[:3], -1)
        return torch.cat((q, query), dim=-1), torch.cat((k, key), dim=-1), F.pad(v, (0, query.shape[-1]))

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """Keys and values of the tokens seen so far: none; the delayed heads' next key: zero."""
        width = self.head_width + (2 * self.lag_rotary.n_pairs if self.lag_heads else 0)
        empty = self.qkv.weight.new_empty(batch_size, self.n_heads, 0, width)
        previous = empty.new_zeros(batch_size, self.delayed_heads, 1, self.head_width)
        return {"k": TokenBuffer(empty), "v": TokenBuffer(empty), "previous": previous}

    def prefill(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """The first tokens at once: x (B, N, D) -> (B, N, D), as `forward`; the cache of none yet is filled. ValueError
        for one not causal.
        """
        checks.decodes(self.causal)
        q, k, v = self._projected(x)
        k = self.rotary.rotate(k, *self.rotary.table(x.shape[1], x.dtype))
        _, k, v = self._with_lags(q, k, v, 0)
        cache["k"].fill(k)
        cache["v"].fill(v)
        last = self.qkv(x[:, -1:]).unflatten(-1, (3, self.n_heads, -1))[:, :, 1].transpose(1, 2)
        cache["previous"] = last[:, : self.delayed_heads]
        out: Tensor = self(x)
        return out

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: x (B, D) -> (B, D); its key and value join the cache. ValueError for one not causal."""
        checks.decodes(self.causal)
        q, k, v = self.qkv(x).view(len(x), 3, self.n_heads, 1, self.head_width).unbind(1)  # each (B, H, 1, d)
        k, cache["previous"] = (
            torch.cat((cache["previous"], k[:, self.delayed_heads :]), dim=1),
            k[:, : self.delayed_heads],
        )
        t = cache["k"].length
        cos, sin = self.rotary.phase(t, t + 1, x.dtype)
        q, k = self.rotary.rotate(q, cos, sin), self.rotary.rotate(k, cos, sin)
        q, k, v = self._with_lags(q, k, v, t)
        k, v = cache["k"].append(k), cache["v"].append(v)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)[..., : self.head_width]
        return self.out(mixed.flatten(1))


class Transformer(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    `delayed_heads` and `lag_heads` are those of the first `helped_layers` layers, None: of all.
    With `cutoffs` the vocabulary is read and predicted in bands (synchrony_blocks/adaptive.py), each narrower by
    `div_value`. `ff_width` is the SwiGLU width; the default of 8/3 d_model keeps the parameters of a 4 d_model MLP.
    `cross`: layers attend to a memory too, which makes it the decoder of a translator. `dropout`: of embeddings and of
    increments. Initialisation (our choice, made in short trials without records; see EXPERIMENTS.md): normal with
    standard deviation fan_in^(-1/2), d_model^(-1/2) for the embedding; residual projections over the root of their
    number.
    """

    def __init__(
        self,
        vocabulary_size: int = 256,
        d_model: int = 128,
        n_layers: int = 4,
        n_heads: int = 4,
        ff_width: int | None = None,
        rope_base: float = 10_000.0,
        delayed_heads: int = 0,
        lag_heads: int = 0,
        helped_layers: int | None = None,
        cutoffs: Sequence[int] = (),
        div_value: int = 4,
        *,
        cross: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        checks.sizes(vocabulary_size=vocabulary_size, d_model=d_model, n_layers=n_layers, n_heads=n_heads)
        checks.whole("ff_width", ff_width, 1, optional=True)
        layers = transformer_blocks(
            *(d_model, n_layers, n_heads, ff_width),
            rope_base=rope_base,
            delayed_heads=delayed_heads,
            lag_heads=lag_heads,
            helped_layers=helped_layers,
            cross=cross,
            dropout=dropout,
        )
        bands = TiedBands(d_model, vocabulary_size, cutoffs, div_value) if cutoffs else None
        embedding = bands or nn.Embedding(vocabulary_size, d_model)
        super().__init__(embedding, layers, nn.RMSNorm(d_model), dropout=dropout)
        initialise(self, (3 if cross else 2) * n_layers)
        if bands is not None:
            bands.start(std=d_model**-0.5)


def transformer_blocks(
    d_model: int,
    n_layers: int,
    n_heads: int,
    ff_width: int | None,
    *,
    rope_base: float = 10_000.0,
    delayed_heads: int = 0,
    lag_heads: int = 0,
    helped_layers: int | None = None,
    causal: bool = True,
    cross: bool = False,
    dropout: float = 0.0,
) -> list[DecoderBlock]:
    """The layers of a decoder or, not causal, of an encoder; arguments as of `Transformer`."""
    helped = n_layers if helped_layers is None else helped_layers
    if helped > n_layers:
        raise ValueError(f"helped_layers={helped_layers} is more than n_layers={n_layers}")
    return [
        DecoderBlock(
            d_model,
            SelfAttention(
                d_model,
                n_heads,
                rope_base,
                *((delayed_heads, lag_heads) if layer < helped else (0, 0)),
                causal=causal,
            ),
            SwiGLU(d_model, ff_width or round(8 * d_model / 3), d_model),
            cross=CrossAttention(d_model, n_heads) if cross else None,
            dropout=dropout,
        )
        for layer in range(n_layers)
    ]


def initialise(module: nn.Module, n_residuals: int) -> None:
    """Normal weights as `Transformer` says; residual projections, of which there are `n_residuals`, over its root."""
    for name, parameter in module.named_parameters():
        if parameter.ndim == 2 and name.endswith("weight"):
            residual = name.endswith(("mixer.out.weight", "cross.out.weight", "feed_forward.down.weight"))
            std = parameter.shape[1] ** -0.5  # fan-in; for the embedding d_model, as its tied readout has it
            nn.init.normal_(parameter, std=std / n_residuals**0.5 if residual else std)
