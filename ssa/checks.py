"""What a layer of Selective Synchronization Attention refuses, one readable line for each mistake."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from ssa.backends import BACKENDS

NAMES = {
    "query_frequency": ("shared", "separate"),
    "start": ("calibrated", "published"),
    "order": ("prefix", "sequence"),
    "backend": BACKENDS,
}
LEAST_THETA = 1e-3  # rad; the cosine of less than a third of it is 1 in float32, and a token not locked to itself
MOST_COUPLING = 1e6  # of alpha and K: alpha K^2, and what is made of it, stays far from float32's largest number


def settings(
    d_model: int,
    n_heads: int,
    theta: float,
    n_drifts: int,
    drift_base: float,
    position_share: Sequence[float],
    lag: float,
    delayed_heads: int,
    frequency_width: int | None,
    locked_fraction: float,
    calibration_length: int,
    alpha: float | None,
    K: float | None,
    top_k: int | None,
    cap: float | None,
    floor: float,
    switches: Mapping[str, bool],
    names: Mapping[str, str],
) -> None:
    """ValueError for the first setting of a layer that is impossible, TypeError for one of a wrong type; `names`: those
    that are words, `switches`: those that are True or False.
    """
    counts: dict[str, Any] = {
        "d_model": d_model,
        "n_heads": n_heads,
        "n_drifts": n_drifts,
        "delayed_heads": delayed_heads,
    }
    counts |= {"calibration_length": calibration_length, "frequency_width": frequency_width, "top_k": top_k}
    numbers: dict[str, Any] = {"theta": theta, "drift_base": drift_base, "lag": lag, "locked_fraction": locked_fraction}
    numbers |= {"alpha": alpha, "K": K, "cap": cap, "floor": floor}
    _typed(counts, Integral, "a whole number")
    _typed(numbers, Real, "a number")
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            raise TypeError(f"{name}={switch!r} is neither True nor False")
    if d_model < 1:
        raise ValueError(f"d_model={d_model} is less than 1")
    if n_heads < 1 or d_model % n_heads:
        raise ValueError(f"width {d_model} does not split into {n_heads} heads")
    if not LEAST_THETA <= theta <= math.pi / 2:
        raise ValueError(f"theta={theta} does not lie in [{LEAST_THETA}, pi/2]")
    if switches["learn_theta"] and theta == math.pi / 2:
        raise ValueError("theta=pi/2 is the largest threshold and cannot be learned from there; lower it a little")
    if not 0 <= delayed_heads <= n_heads:
        raise ValueError(f"delayed_heads={delayed_heads} is not between 0 and the {n_heads} heads there are")
    pair = isinstance(position_share, Sequence) and not isinstance(position_share, str)
    if not pair or not all(_is(share, Real) for share in position_share):
        raise TypeError(f"position_share={position_share!r} is not two numbers between 0 and 1")
    if len(position_share) != 2 or not all(0 < share < 1 for share in position_share):
        raise ValueError(f"position_share={position_share} is not two numbers between 0 and 1")
    if n_drifts < 1:
        raise ValueError(f"n_drifts={n_drifts} is less than 1")
    if not drift_base > 0:
        raise ValueError(f"drift_base={drift_base} is not positive")
    if not math.isfinite(lag):
        raise ValueError(f"lag={lag} is not a number of tokens")
    for name, coupling in (("alpha", alpha), ("K", K)):
        if coupling is not None and not coupling > 0:
            raise ValueError(f"{name}={coupling} is not positive")
        if coupling is not None and coupling > MOST_COUPLING:
            raise ValueError(f"{name}={coupling} is more than {MOST_COUPLING:.0e}")
    if calibration_length < 2:
        raise ValueError(f"calibration_length={calibration_length} is less than 2: it takes a pair")
    if lag and not switches["position"]:
        raise ValueError(f"lag={lag} needs positions: leave it out, or position=False")
    if frequency_width is not None and frequency_width < 1:
        raise ValueError(f"frequency_width={frequency_width} is less than 1")
    if not 0 < locked_fraction < 1:
        raise ValueError(f"locked_fraction={locked_fraction} does not lie between 0 and 1")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} is less than 1")
    if cap is not None and not cap > 0:
        raise ValueError(f"cap={cap} is not positive; None takes the exact gradient")
    if not 0 <= floor < math.inf:
        raise ValueError(f"floor={floor} is not a number from 0 on")
    for key, value in names.items():
        if value not in NAMES[key]:
            raise ValueError(f"{key}={value!r} is none of {', '.join(NAMES[key])}")


def _typed(values: Mapping[str, Any], kind: type, called: str) -> None:
    for name, value in values.items():
        optional = name in ("frequency_width", "alpha", "K", "top_k", "cap")
        if not _is(value, kind) and not (optional and value is None):
            raise TypeError(f"{name}={value!r} is not {called}" + (" or None" if optional else ""))


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


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
