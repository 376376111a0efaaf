"""Which form of the operator runs: in chunks, from dense matrices, or through FlexAttention."""

import functools
import logging
from typing import Any

import torch
from torch import Tensor

from ssa import opaque, pairs
from ssa.chunked import synchronize
from ssa.dense import synchronize_dense
from ssa.flex import synchronize_flex
from synchrony_blocks.transforms import follows_operations

BACKENDS = ("auto", "chunked", "flex", "dense")
log = logging.getLogger(__name__)


def choose(backend: str, device: str, gradients: bool, top_k: int | None = None) -> str:
    """chunked, flex or dense for a device type; "auto" takes flex for inference on CUDA, else chunked (our choice).

    Raises ValueError for flex where it cannot run: on a CPU, with gradients, with top_k.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is none of {', '.join(BACKENDS)}")
    able = device == "cuda" and not gradients and top_k is None
    if backend == "flex" and not able:
        reason = "on a CPU" if device != "cuda" else "with gradients" if gradients else "with top_k"
        raise ValueError(f"backend='flex' is for inference on CUDA and cannot run {reason}; take 'auto'")
    if backend == "auto":
        return "flex" if able and not _flex_failed() else "chunked"
    return backend


def describe(backend: str, device: str, n_pairs: int, top_k: int | None = None) -> dict[str, str]:
    """What will train and evaluate on a device type, and how training's chunks, of calls of `n_pairs`, are computed.

    Compiles them if they are to be, which takes some seconds.
    """
    used = {"training": choose(backend, device, True, top_k), "evaluation": choose(backend, device, False, top_k)}
    if used["training"] == "chunked":
        used["pairs"] = pairs.how(device) if n_pairs >= pairs.FEWEST else "eager: too few to compile"
    return used


def fallen_back() -> dict[str, str]:
    """What `describe` said that did not come true in this process: FlexAttention failed. Else empty."""
    return {"evaluation": f"chunked, because FlexAttention failed: {_failures()[0]}"} if _failures() else {}


def operate(
    backend: str,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    *,
    causal: bool,
    key_mask: Tensor | None,
    cap: float | None,
    top_k: int | None,
    floor: float,
) -> Tensor:
    """The operator, arguments as for `ssa.chunked.synchronize`, in the form that `choose` gives."""
    inputs = (q, k, v, inverse_rho, cos_theta)
    if follows_operations():
        dense = synchronize_dense(*inputs, causal=causal, key_mask=key_mask, cap=cap, top_k=top_k, floor=floor)
        return dense.to(v.dtype)
    gradients = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    if torch.compiler.is_compiling() and q.is_cuda and not gradients and backend in ("auto", "flex"):
        return _inferred(backend, *inputs, key_mask, causal, top_k, float(floor))
    chosen = choose(backend, q.device.type, gradients, top_k)
    if backend == "auto" and q.dtype == torch.float64:  # FlexAttention takes none
        chosen = "chunked"
    if chosen == "dense":
        return synchronize_dense(*inputs, causal=causal, key_mask=key_mask, cap=cap, top_k=top_k, floor=floor)
    if chosen == "flex":
        try:
            return synchronize_flex(*inputs, causal=causal, key_mask=key_mask, floor=floor)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if backend == "flex":
                raise
            _flex_failed(error)
    operator = opaque.attend if torch.compiler.is_compiling() else None
    return synchronize(*inputs, causal=causal, key_mask=key_mask, cap=cap, top_k=top_k, floor=floor, operator=operator)


@torch.library.custom_op("synchrony::inferred", mutates_args=())
def _inferred(
    backend: str,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    top_k: int | None,
    floor: float,
) -> Tensor:
    """`operate` in a compiled graph, where nothing is differentiated: the kernel is chosen when the graph runs."""
    inputs = (q, k, v, inverse_rho, cos_theta)
    return operate(backend, *inputs, causal=causal, key_mask=key_mask, cap=None, top_k=top_k, floor=floor)


@_inferred.register_fake
def _(backend: str, q: Tensor, k: Tensor | None, v: Tensor, *_: Any) -> Tensor:
    return v.new_empty(*q.shape[:2], v.shape[2])


@functools.cache
def _failures() -> list[str]:
    return []


def _flex_failed(error: Exception | None = None) -> bool:
    """Whether FlexAttention has failed in this process; an `error` says that it did, and is logged once."""
    if error is not None and not _failures():
        _failures().append((str(error).strip() or type(error).__name__).splitlines()[0])
        log.warning("SSA goes on in chunks, because FlexAttention failed: %s", _failures()[0])
    return bool(_failures())
