"""Multi-head attention to an encoder's states, as Vaswani et al. 2017 (arXiv 1706.03762) have it.

Queries and keys have no positions here (our choice, and the usual one with rotary positions): the states know theirs.

Legend: B batch, N tokens, M tokens of the memory, H heads, d head width, D = H d width (d_model).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device

from synchrony_blocks.cache import MemoryCache
from synchrony_blocks.configured import Configured


class CrossAttention(Configured):
    """x (B, N, D) and a memory (B, M, D) -> (B, N, D). No bias.

    Raises ValueError when d_model is not divisible by n_heads.
    """

    def __init__(self, d_model: int, n_heads: int, *, device: Device = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"width {d_model} does not split into {n_heads} heads")
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, *, memory: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """x (B, N, D) -> (B, N, D). `padding_mask` (B, M) bool: True for a token of the memory that is attended."""
        return self._attend(x, *self._keys_values(memory, padding_mask), padding_mask)

    def init_cache(self, batch_size: int, memory: Tensor, padding_mask: Tensor | None = None) -> MemoryCache:
        """Keys and values of a memory (B, M, D), each (B, H, M, d), and its mask: all that `step` needs."""
        k, v = self._keys_values(memory, padding_mask)
        return MemoryCache(batch_size, k=k, v=v, real=padding_mask)

    def step(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """One token: x (B, D) -> (B, D)."""
        return self._attend(x[:, None], cache["k"], cache["v"], cache["real"])[:, 0]

    def _keys_values(self, memory: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if padding_mask is not None:  # padding must not reach a sum, even where it is nan
            memory = memory.masked_fill(~padding_mask[:, :, None], 0)
        k, v = self.key_value(memory).unflatten(-1, (2, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def _attend(self, x: Tensor, k: Tensor, v: Tensor, real: Tensor | None) -> Tensor:
        q = self.query(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        allowed = None if real is None else real[:, None, None, :]
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))
