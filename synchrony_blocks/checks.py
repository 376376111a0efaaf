"""What a layer refuses, one readable line for each mistake."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from synchrony_blocks.cache import TokenBuffer


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


def tensor(name: str, value: Any) -> None:
    """TypeError for what is no tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tensor")


def sequences(name: str, x: Any, memory: Any, padding_mask: Any, width: int) -> None:
    """ValueError or TypeError for what a forward pass cannot take: x (B, N, width), which the caller calls `name`,
    memory (B, M, width) or None, padding_mask bool or None, of memory or, where there is none, of x.
    """
    tensor(name, x)
    source, of = (x, name) if memory is None else (memory, "memory")
    tensor(of, source)
    for called, sequence in ((name, x), (of, source)):
        if not sequence.is_floating_point():
            raise ValueError(f"{called} is {sequence.dtype}, not of floating-point numbers")
        if sequence.ndim != 3 or sequence.shape[2] != width:
            raise ValueError(f"{called} has shape {tuple(sequence.shape)}, not (batch, tokens, {width})")
        if len(sequence) != len(x):
            raise ValueError(f"memory has a batch of {len(sequence)} and {name} one of {len(x)}")
        if sequence.shape[1] == 0:
            raise ValueError(f"{called} has no tokens")
    if padding_mask is not None:
        tensor("padding_mask", padding_mask)
        if padding_mask.dtype != torch.bool:
            raise ValueError(f"padding_mask is {padding_mask.dtype}, not torch.bool with True for a real token")
        if padding_mask.shape != source.shape[:2]:
            raise ValueError(f"padding_mask has shape {tuple(padding_mask.shape)}, not {tuple(source.shape[:2])}")


def sizes(**sizes: Any) -> None:
    """TypeError or ValueError for what is no whole number from 1 on."""
    for name, value in sizes.items():
        whole(name, value, 1)


def vectors(name: str, x: Any, width: int) -> None:
    """ValueError or TypeError for what is not x (..., width), of floating-point numbers."""
    tensor(name, x)
    if not x.is_floating_point():
        raise ValueError(f"{name} is {x.dtype}, not of floating-point numbers")
    if not x.ndim or x.shape[-1] != width:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, not (..., {width})")


def tokens(name: str, x: Any) -> None:
    """ValueError or TypeError for what is not tokens (B, N), of whole numbers."""
    tensor(name, x)
    if x.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} is {x.dtype}, not torch.int64: a token is a whole number")
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, not (batch, tokens)")


def prompt(name: str, x: Any) -> None:
    """ValueError or TypeError for what is not tokens (B, N) with at least one to a row."""
    tokens(name, x)
    if not x.shape[1]:
        raise ValueError("a prompt has at least one token: what a text is taken to follow, where nothing is typed")


def decodes(causal: bool, what: str = "layer") -> None:
    """ValueError for what is not causal, where tokens are read one after another."""
    if not causal:
        raise ValueError(f"a {what} that is not causal knows the whole sequence, and cannot decode token by token")


def same_batch(name: str, x: Tensor, kept: Tensor | TokenBuffer) -> None:
    """ValueError where x (B, ...), which the caller calls `name`, has another batch than what a cache keeps."""
    batch = kept.batch if isinstance(kept, TokenBuffer) else len(kept)
    if len(x) != batch:
        raise ValueError(f"{name} has a batch of {len(x)} and the cache one of {batch}")
