"""The shell of every translator: an encoder, and a language model's decoder that attends to the encoder's states.

Source of the form: Vaswani et al. 2017 (arXiv 1706.03762), with one embedding for both languages, tied to the readout
where the family's language model has it so. Norms before the layers, and one after the encoder, are our choice.

Legend: B batch, M tokens of the source, N tokens of the target, D width of a state, V vocabulary.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from synchrony_blocks.cache import reorder
from synchrony_blocks.configured import Configured
from synchrony_blocks.decoder import Block, Cache, Decoder

__all__ = ["Translator", "reorder"]


class Translator(Configured):
    """source (B, M) and inputs (B, N), both int64 -> logits (B, N, V) of the target's next token.

    `encoder`: blocks that attend to the whole source; `norm` is taken of their last state, None leaves it as it is.
    `decoder`: a language model whose blocks have cross-attention; its embedding is the encoder's too.
    `source_mask` (B, M) bool is True for a real token; None: all are. Padding changes nothing of what is real.
    """

    def __init__(self, encoder: Iterable[nn.Module], norm: nn.Module | None, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.encoder_norm = nn.Identity() if norm is None else norm
        self.decoder = decoder

    def forward(self, source: Tensor, inputs: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Logits (B, N, V)."""
        return self.logits(self.hidden(source, inputs, source_mask))

    def hidden(self, source: Tensor, inputs: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The decoder's final states (B, N, D), which `logits` reads."""
        return self.decoder.hidden(inputs, **self.attended(self.encode(source, source_mask), source_mask))

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of final states (..., D)."""
        return self.decoder.logits(hidden)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The encoder's final states (B, M, D), the memory. The values at padding have no meaning."""
        x = self.decoder.embedded(source)
        for layer in cast(Iterable[Block], self.encoder):
            x = layer(x, padding_mask=source_mask)
        return self.encoder_norm(x)

    @torch.no_grad()
    def init_cache(self, memory: Tensor, source_mask: Tensor | None = None) -> Cache:
        """A cache for `step` beside a memory (B, M, D), of which keys and values are computed here, once."""
        return self.decoder.init_cache(len(memory), **self.attended(memory, source_mask))

    def step(self, token: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) after one more token (B,) of the target; equal to the last position of the full pass."""
        return self.decoder.step(token, cache)

    def attended(self, memory: Tensor, source_mask: Tensor | None) -> dict[str, Any]:
        """The keywords of the decoder's blocks."""
        return {"memory": memory, "padding_mask": source_mask}

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.decoder.vocabulary_size
