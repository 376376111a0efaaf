"""What a layer of Selective Synchronization Attention refuses, one readable line for each mistake."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from synchrony_blocks.checks import number, same_batch, sequences, sizes, switch, tensor, whole, word

__all__ = ["number", "shapes", "sizes", "switch", "token", "two_shares", "whole", "word"]


def two_shares(name: str, value: Any) -> None:
    """TypeError for what is no sequence of numbers, ValueError for what is not two numbers between 0 and 1."""
    words = f"{name}={value!r} is not two numbers between 0 and 1"
    if not isinstance(value, Sequence) or not all(isinstance(share, Real) for share in value):
        raise TypeError(words)
    if len(value) != 2 or not all(0 < float(share) < 1 for share in value):
        raise ValueError(words)


def token(x: Any, cache: Mapping[str, Any], d_model: int) -> None:
    """ValueError or TypeError for what a decoding step cannot take: x (B, D)."""
    tensor("x", x)
    if not isinstance(cache, Mapping) or "v" not in cache:
        raise TypeError("cache is not what init_cache gives")
    if x.ndim != 2 or x.shape[1] != d_model:
        raise ValueError(f"x has shape {tuple(x.shape)}, not (batch, {d_model}): a step takes one token")
    same_batch("x", x, cache["v"])


def shapes(x: Tensor, memory: Tensor | None, padding_mask: Tensor | None, d_model: int, name: str = "x") -> None:
    """ValueError or TypeError for what a forward pass cannot take: x (B, N, D), which the caller calls `name`, memory
    (B, M, D), padding_mask (B, M) bool.
    """
    sequences(name, x, memory, padding_mask, d_model)
