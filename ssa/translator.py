"""The Oscillatory Synchronization Network as a translator.

Source: arXiv 2602.14445 for the operator and its form between two sequences: a decoder's frequencies lock to those of
the encoder, with the order parameter of the encoder's phases. Shape, start and positions are our choices. Positions of
both sequences are counted from 0, so that locking starts near the diagonal. Lags and delayed keys of the heads are as
in a language model (see `OSN`).
"""

from typing import Any

import torch
from torch import nn
from torch.types import Device

from ssa.network import OSN, OSNBlock, block_options, calibrate_layers, initialise, sample
from synchrony_blocks.translator import Translator


class OSNTranslator(Translator):
    """source (B, M) and inputs (B, N), int64 -> logits (B, N, V).

    `n_layers` in the encoder and as many in the decoder. Further keywords are those of `OSN`, and hold for all three
    kinds of attention. `calibration_length`: tokens of a usual sentence. Residual projections start smaller by the root
    of their number in the encoder, 2 n_layers, or the decoder, 3 n_layers. Each attention is then calibrated on what it
    gets of random sentences, the cross-attention on every pair of a target's and a source's token.
    """

    decoder: OSN

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
        blocks = block_options(**options)
        shape = d_model, n_heads, ff_width
        encoder = [OSNBlock(*shape, causal=False, dropout=dropout, **blocks) for _ in range(n_layers)]
        initialise(encoder, 2 * n_layers)
        decoder = OSN(vocabulary_size, d_model, n_layers, n_heads, ff_width, cross=True, dropout=dropout, **options)
        super().__init__(encoder, nn.RMSNorm(d_model), decoder)
        self._calibrate(blocks["start"])

    @torch.no_grad()
    def _calibrate(self, start: Any) -> None:
        embedding = self.decoder.embedding
        source, target = (sample(start, embedding, seed) for seed in (0, 1))
        if source is not None and target is not None:
            memory = self.encoder_norm(calibrate_layers(self.encoder, embedding(source)))
            calibrate_layers(self.decoder.layers, embedding(target), memory)
