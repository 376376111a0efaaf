"""What a layer of Selective Synchronization Attention refuses, one readable line for each mistake."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def number(name: str, value: Any, fits: Callable[[Any], bool], unless: str, optional: bool = False) -> None:
    """TypeError for what is no number, or None if `optional`; ValueError `unless` it fits."""
    _check(name, value, Real, "a number", fits, unless, optional)


def whole(
    name: str, value: Any, least: int, most: float = math.inf, unless: str | None = None, optional: bool = False
) -> None:
    """The same for a whole number in [least, most]."""
    unless = unless or f"is less than {least}"
    _check(name, value, Integral, "a whole number", lambda n: least <= n <= most, unless, optional)


def _check(
    name: str, value: Any, kind: Any, called: str, fits: Callable[[Any], bool], unless: str, optional: bool
) -> None:
    if value is None and optional:
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not {called}" + (" or None" if optional else ""))
    if not fits(value):
        raise ValueError(f"{name}={value} {unless}")


def switch(name: str, value: Any) -> None:
    """TypeError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is neither True nor False")


def word(name: str, value: str, legal: Sequence[str]) -> None:
    """ValueError for a word that is none of the legal ones."""
    if value not in legal:
        raise ValueError(f"{name}={value!r} is none of {', '.join(legal)}")


def two_shares(name: str, value: Any) -> None:
    """TypeError for what is no sequence of numbers, ValueError for what is not two numbers between 0 and 1."""
    words = f"{name}={value!r} is not two numbers between 0 and 1"
    if not isinstance(value, Sequence) or not all(isinstance(share, Real) for share in value):
        raise TypeError(words)
    if len(value) != 2 or not all(0 < float(share) < 1 for share in value):
        raise ValueError(words)


def _tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tensor")


def token(x: Any, cache: Mapping[str, Any], d_model: int) -> None:
    """ValueError or TypeError for what a decoding step cannot take: x (B, D)."""
    _tensor("x", x)
    if not isinstance(cache, Mapping) or "v" not in cache:
        raise TypeError("cache is not what init_cache gives")
    if x.ndim != 2 or x.shape[1] != d_model:
        raise ValueError(f"x has shape {tuple(x.shape)}, not (batch, {d_model}): a step takes one token")
    if len(x) != len(cache["v"]):
        raise ValueError(f"x has a batch of {len(x)} and the cache one of {len(cache['v'])}")


def shapes(x: Tensor, memory: Tensor | None, padding_mask: Tensor | None, d_model: int, top_k: int | None) -> None:
    """ValueError or TypeError for what a forward pass cannot take: x (B, N, D), memory (B, M, D), padding_mask (B, M)
    bool.
    """
    for name, value in {"x": x, "memory": memory, "padding_mask": padding_mask}.items():
        if name == "x" or value is not None:
            _tensor(name, value)
    source = x if memory is None else memory
    for name, tensor in (("x", x), ("memory", source)):
        if tensor.ndim != 3 or tensor.shape[2] != d_model:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not (batch, tokens, {d_model})")
        if len(tensor) != len(x):
            raise ValueError(f"memory has a batch of {len(tensor)} and x one of {len(x)}")
        if tensor.shape[1] == 0:
            raise ValueError(f"{name} has no tokens")
    if top_k is not None and top_k > source.shape[1]:
        raise ValueError(f"top_k={top_k} is more than the {source.shape[1]} tokens there are")
    if padding_mask is not None:
        if padding_mask.dtype != torch.bool:
            raise ValueError(f"padding_mask is {padding_mask.dtype}, not torch.bool with True for a real token")
        if padding_mask.shape != source.shape[:2]:
            raise ValueError(f"padding_mask has shape {tuple(padding_mask.shape)}, not {tuple(source.shape[:2])}")
