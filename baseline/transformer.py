"""RoPE-SwiGLU transformer: pre-RMSNorm, scaled dot-product attention, tied embeddings, no bias (Llama's block).

Legend: B batch, N tokens, H heads, d head width, D = H d width (d_model), V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blocks.decoder import Decoder, DecoderBlock
from blocks.rotary import Rotary
from blocks.swiglu import SwiGLU


class SelfAttention(nn.Module):
    """Causal multi-head attention with rotary positions: (B, N, D) -> (B, N, D).

    `delayed_heads` (our choice, for comparison with OSN): so many heads' keys have the content of the token before; the
    first token's are zero there. Olsson et al. 2022 ("In-context learning and induction heads") call such keys smeared.
    Raises ValueError when d_model is not divisible by n_heads, the head width is odd, or delayed_heads is not between 0
    and n_heads.
    """

    def __init__(self, d_model: int, n_heads: int, rope_base: float = 10_000.0, delayed_heads: int = 0) -> None:
        super().__init__()
        if d_model % n_heads or d_model // n_heads % 2:
            raise ValueError(f"width {d_model} does not split into {n_heads} heads of an even width")
        if not 0 <= delayed_heads <= n_heads:
            raise ValueError(f"delayed_heads={delayed_heads} is not between 0 and the {n_heads} heads there are")
        self.n_heads, self.delayed_heads = n_heads, delayed_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.rotary = Rotary(d_model // n_heads // 2, rope_base)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D), causal."""
        batch, length, width = x.shape
        q, k, v = self._projected(x)
        cos, sin = self.rotary.table(length, x.dtype)
        q, k = self.rotary.rotate(q, cos, sin), self.rotary.rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))

    @torch.no_grad()
    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """attention (B, H, N, N): weight of each token for each query, from the dense matrix."""
        q, k, _ = self._projected(x)
        cos, sin = self.rotary.table(x.shape[1], x.dtype)
        scores = self.rotary.rotate(q, cos, sin) @ self.rotary.rotate(k, cos, sin).transpose(2, 3) * q.shape[-1] ** -0.5
        future = torch.ones(scores.shape[2:], dtype=torch.bool, device=x.device).triu(1)
        return {"attention": scores.masked_fill(future, float("-inf")).softmax(-1)}

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, already delayed, and values, each (B, H, N, d)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        if self.delayed_heads:
            before = F.pad(k[:, : self.delayed_heads, :-1], (0, 0, 1, 0))
            k = torch.cat((before, k[:, self.delayed_heads :]), dim=1)
        return q, k, v

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """Keys and values of the tokens seen so far: none; the delayed heads' next key: zero."""
        d = self.qkv.in_features // self.n_heads
        empty = self.qkv.weight.new_empty(batch_size, self.n_heads, 0, d)
        return {"k": empty, "v": empty, "previous": empty.new_zeros(batch_size, self.delayed_heads, 1, d)}

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: x (B, D) -> (B, D); its key and value join the cache."""
        q, k, v = self.qkv(x).view(len(x), 3, self.n_heads, 1, -1).unbind(1)  # each (B, H, 1, d)
        k, cache["previous"] = (
            torch.cat((cache["previous"], k[:, self.delayed_heads :]), dim=1),
            k[:, : self.delayed_heads],
        )
        t = cache["k"].shape[2]
        cos, sin = self.rotary.phase(t, t + 1, x.dtype)
        q, k = self.rotary.rotate(q, cos, sin), self.rotary.rotate(k, cos, sin)
        cache["k"] = torch.cat((cache["k"], k), dim=2)
        cache["v"] = torch.cat((cache["v"], v), dim=2)
        mixed = F.scaled_dot_product_attention(q, cache["k"], cache["v"])
        return self.out(mixed.flatten(1))


class Transformer(Decoder):
    """Language model: tokens (B, N) int64 -> logits (B, N, V).

    `ff_width` is the SwiGLU width; the default of 8/3 d_model keeps the parameters of a 4 d_model MLP.
    Initialisation (our choice, made in short trials without records; see EXPERIMENTS.md): normal with standard
    deviation fan_in^(-1/2), d_model^(-1/2) for the embedding; residual projections over sqrt(2 n_layers).
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
    ) -> None:
        ff_width = ff_width or round(8 * d_model / 3)
        layers = [
            DecoderBlock(
                d_model,
                SelfAttention(d_model, n_heads, rope_base, delayed_heads),
                SwiGLU(d_model, ff_width, d_model),
            )
            for _ in range(n_layers)
        ]
        super().__init__(nn.Embedding(vocabulary_size, d_model), layers, nn.RMSNorm(d_model))
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("mixer.out.weight", "feed_forward.down.weight"))
                std = parameter.shape[1] ** -0.5  # fan-in; for the embedding d_model, as its tied readout has it
                nn.init.normal_(parameter, std=std / (2 * n_layers) ** 0.5 if residual else std)
