"""The pre-norm decoder shell: x + mixer(norm(x)), then x + feed_forward(norm(x)), and a tied readout.

The shell is the same for every model that uses it; only the mixer is swapped, so a comparison changes one thing.

Legend: B batch, N tokens, D width (d_model), V vocabulary.
"""

from collections.abc import Iterable
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Cache = list[dict[str, Any]]


class Mixer(Protocol):
    """A module that moves information between tokens, causally, all at once or one token after another."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""

    def init_cache(self, batch_size: int) -> dict[str, Any]:
        """What `step` remembers of the tokens so far: nothing yet."""

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """(B, D) -> (B, D) for one more token; the cache is updated in place."""

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """What the mixer does with x (B, N, D), `attention` (B, H, N, N) among it."""


class DecoderBlock(nn.Module):
    """One pre-norm residual block around a mixer and a feed-forward."""

    def __init__(self, width: int, mixer: Mixer, feed_forward: nn.Module) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(width)
        self.mixer = mixer
        self.feed_forward_norm = nn.RMSNorm(width)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: x (B, D), the mixer's cache is updated in place."""
        x = x + self.mixer.step(self.mixer_norm(x), cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Decoder(nn.Module):
    """Token embedding, blocks, final norm, readout tied to the embedding. tokens (B, N) -> logits (B, N, V)."""

    def __init__(self, vocabulary_size: int, width: int, layers: list[DecoderBlock]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.RMSNorm(width)

    def forward(self, tokens: Tensor, return_diagnostics: bool = False) -> Any:
        """tokens (B, N) int64 -> logits (B, N, V); with `return_diagnostics` also a list of what each mixer reports."""
        x, diagnostics = self.embedding(tokens), []
        for layer in cast(Iterable[DecoderBlock], self.layers):
            if return_diagnostics:
                diagnostics.append(layer.mixer.diagnostics(layer.mixer_norm(x)))
            x = layer(x)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return (logits, diagnostics) if return_diagnostics else logits

    def init_cache(self, batch_size: int) -> Cache:
        """An empty cache for `step`, one dictionary a layer."""
        return [layer.mixer.init_cache(batch_size) for layer in cast(Iterable[DecoderBlock], self.layers)]

    @torch.no_grad()
    def step(self, token: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) after one more token (B,); equal to the last position of the full forward pass."""
        x = self.embedding(token)
        for layer, layer_cache in zip(cast(Iterable[DecoderBlock], self.layers), cache, strict=True):
            x = layer.step(x, layer_cache)
        return F.linear(self.norm(x), self.embedding.weight), cache
