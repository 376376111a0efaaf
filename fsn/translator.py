"""The Frustrated Synchronization Network as a translator.

Source: arXiv 2606.18694 names the bidirectional encoder and the coupling of a decoder's phases to an encoder's. Ours:
its form, that of the language model in both; that the first `local_layers` of the encoder couple to both sides; and
that the copying heads, of the last `copying_layers` of the decoder, couple to the encoder alone. Such a head finds a
state like the present one and goes on with its successor. That is of use where the same pieces follow each other in
source and target, as those of names and numbers do under one vocabulary. Within one sentence little recurs.

Legend: B batch, M tokens of the source, N tokens of the target, d phases, theta (B, M, d) state in rad.
"""

from typing import Any

import torch
from torch import Tensor
from torch.types import Device

from fsn.layer import LayerForm
from fsn.network import FSN
from fsn.phases import features
from synchrony_blocks.translator import Translator


class FSNTranslator(Translator):
    """source (B, M) and inputs (B, N), int64 -> logits (B, N, V). The memory is phases in rad.

    `n_layers` in the encoder and as many in the decoder. Further keywords are those of `FSN`.
    """

    decoder: FSN

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
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **form: Any,
    ) -> None:
        encoder = LayerForm(**form).layers(
            n_phases, n_layers, n_heads, ff_width, causal=False, copying=False, dropout=dropout
        )
        decoder = FSN(
            *(vocabulary_size, n_phases, n_layers, n_heads, ff_width),
            readout=readout,
            grading=grading,
            cross=True,
            dropout=dropout,
            **form,
        )
        super().__init__(encoder, None, decoder)

    def attended(self, memory: Tensor, source_mask: Tensor | None) -> dict[str, Any]:
        """Features of the memory, computed once for all layers."""
        return {"memory": features(memory), "padding_mask": source_mask}
