"""The transformer of Vaswani et al. 2017 (arXiv 1706.03762), its encoder and decoder made of RoPE-SwiGLU blocks."""

from typing import Any

import torch
from torch import nn
from torch.types import Device

from baseline.transformer import Transformer, initialise, transformer_blocks
from synchrony_blocks.translator import Translator


class TransformerTranslator(Translator):
    """source (B, M) and inputs (B, N), int64 -> logits (B, N, V).

    `n_layers` in the encoder and as many in the decoder. Further keywords are those of `Transformer`, of which
    `delayed_heads`, `lag_heads` and `helped_layers` hold for the self-attention of both. Residual projections start
    smaller by the root of their number in the encoder, 2 n_layers, or the decoder, 3 n_layers (our choice).
    """

    def __init__(
        self,
        vocabulary_size: int = 256,
        d_model: int = 128,
        n_layers: int = 4,
        n_heads: int = 4,
        ff_width: int | None = None,
        *,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        encoder = nn.ModuleList(
            transformer_blocks(d_model, n_layers, n_heads, ff_width, causal=False, dropout=dropout, **options)
        )
        initialise(encoder, 2 * n_layers)
        decoder = Transformer(
            vocabulary_size, d_model, n_layers, n_heads, ff_width, cross=True, dropout=dropout, **options
        )
        super().__init__(encoder, nn.RMSNorm(d_model), decoder)
