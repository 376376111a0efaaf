"""Which form of the operator runs: C++, chunks, Triton, dense matrices, or FlexAttention."""

import functools
from typing import Any

import torch
from torch import Tensor

from ssa import kernels, opaque, pairs, tiled
from ssa.chunked import Synchronize, synchronize
from ssa.dense import synchronize_dense
from ssa.flex import synchronize_flex
from ssa.kernels import FAILED
from synchrony_blocks.native import followed
from synchrony_blocks.transforms import follows_operations

BACKENDS = ("auto", "native", "chunked", "triton", "flex", "dense")
FLEX = "FlexAttention"
Inputs = tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]  # q, k, v, inverse_rho, cos_theta


def choose(backend: str, device: str, gradients: bool, top_k: int | None = None, width: int = 1) -> str:
    """native, chunked, triton, flex or dense for a device type. "auto" takes native on a CPU and triton on CUDA, where
    they work; else flex for inference on CUDA, else chunked. Our choice, from times of training on an H100
    (EXPERIMENTS.md); flex was not timed beside triton.
    `width`: of a head's frequencies or values, the larger.

    Raises ValueError for native, triton and flex where they cannot run.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is none of {', '.join(BACKENDS)}")
    if backend == "auto":
        if not _not_native(device, top_k):
            return "native"
        if not kernels.not_triton(device, top_k, width) and kernels.TRITON not in FAILED and device == "cuda":
            return "triton"
        works = not _not_flex(device, gradients, top_k) and FLEX not in FAILED
        return "flex" if works else "chunked"
    why_not = ""
    if backend == "native":
        why_not = _not_native(device, top_k)
    elif backend == "flex":
        why_not = _not_flex(device, gradients, top_k)
    elif backend == "triton":
        why_not = kernels.not_triton(device, top_k, width)
    if why_not:
        raise ValueError(f"backend={backend!r} {why_not}; take 'auto'")
    return backend


def _not_native(device: str, top_k: int | None) -> str:
    if device != "cpu" or top_k is not None:
        return f"is for CPUs and cannot run {'with top_k' if device == 'cpu' else 'on ' + device}"
    # A graph that is traced can build nothing: there it works unless it is known not to.
    reason = tiled.known() if torch.compiler.is_compiling() else tiled.how()
    return "" if reason == "compiled" else f"cannot run here: {reason}"


def _not_flex(device: str, gradients: bool, top_k: int | None) -> str:
    if device == "cuda" and not gradients and top_k is None:
        return ""
    reason = "on a CPU" if device != "cuda" else "with gradients" if gradients else "with top_k"
    return f"is for inference on CUDA and cannot run {reason}"


def describe(backend: str, device: str, n_pairs: int, top_k: int | None = None, width: int = 1) -> dict[str, str]:
    """What will train and evaluate on a device type, and how training's chunks, of calls of `n_pairs`, are computed.

    Compiles what is to be compiled, which takes some seconds.
    """
    asked = {"training": True, "evaluation": False}
    used = {what: choose(backend, device, gradients, top_k, width) for what, gradients in asked.items()}
    if used["training"] == "chunked":
        used["pairs"] = pairs.how(device) if n_pairs >= pairs.FEWEST else "eager: too few to compile"
    return used


def fallen_back() -> dict[str, str]:
    """What `describe` said that did not come true in this process: Triton or FlexAttention failed. Else empty."""
    taken = {}
    if kernels.TRITON in FAILED:
        taken["training"] = f"chunked, because Triton failed: {FAILED[kernels.TRITON]}"
        taken["evaluation"] = f"flex, because Triton failed: {FAILED[kernels.TRITON]}"
    if FLEX in FAILED:
        taken["evaluation"] = f"chunked, because FlexAttention failed: {FAILED[FLEX]}"
    return taken


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
    """out (B, H, N, W) from q (B, H, N, E), k (B, H, M, E), v (B, H, M, W), inverse_rho (B, H, N), cos_theta (B, H) and
    key_mask (B, M), which mean what they do in `ssa.chunked.synchronize`, in the form that `choose` gives.
    """
    inputs = (q, k, v, inverse_rho, cos_theta)
    plain = follows_operations()
    gradients = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    inferred = torch.compiler.is_compiling() and q.is_cuda and not gradients and backend in ("auto", "flex")
    width = max(q.shape[3], v.shape[3])
    chosen = "dense" if plain else choose("auto" if inferred else backend, q.device.type, gradients, top_k, width)
    # A graph has the C++ as a node of its own.
    callable_here = torch.compiler.is_compiling() or not followed(q)
    if chosen == "native" and q.dtype != torch.float64 and callable_here:
        return tiled.synchronize_tiled(*inputs, causal=causal, key_mask=key_mask, cap=cap, floor=floor)
    shape = q.shape[:2]
    mask = None if key_mask is None else key_mask.repeat_interleave(shape[1], dim=0)
    q, k, flat_v = q.flatten(0, 1), None if k is None else k.flatten(0, 1), v.flatten(0, 1)
    flat = (q, k, flat_v, inverse_rho.flatten(0, 1), cos_theta.flatten(0, 1))
    if inferred and not plain:
        out = _inferred(backend, *flat, mask, causal, top_k, float(floor), width)
    else:
        out = _operate(backend, chosen, flat, mask, causal, cap, top_k, floor)
    return (out.to(v.dtype) if plain else out).unflatten(0, shape)


def _operate(
    backend: str,
    chosen: str,
    inputs: Inputs,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    top_k: int | None,
    floor: float,
) -> Tensor:
    """The operator, inputs as for `ssa.chunked.synchronize`, in the chosen form or the one that takes its place."""
    if chosen == "dense":
        return synchronize_dense(*inputs, causal=causal, key_mask=key_mask, cap=cap, top_k=top_k, floor=floor)
    # Float64 goes in chunks unless a form is asked for by name: FlexAttention raises for it.
    if backend == "auto" and inputs[0].dtype == torch.float64:
        chosen = "chunked"
    if chosen == "flex":
        try:
            return synchronize_flex(*inputs, causal=causal, key_mask=key_mask, floor=floor)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if backend == "flex":
                raise
            kernels.give_up(FLEX, error)
    q, k, v, *_ = inputs
    name = "chunked" if chosen != "triton" else kernels.TRITON_OR_CHUNKS if backend == "auto" else "triton"
    if torch.compiler.is_compiling():  # the kernels are made when the graph runs
        operator = functools.partial(opaque.attend, name)
    else:
        operator = functools.partial(Synchronize.apply, kernels.form(name, q, k, v, key_mask, causal))
    return synchronize(
        *inputs,
        causal=causal,
        key_mask=key_mask,
        cap=cap,
        top_k=top_k,
        floor=floor,
        chunk=None if name == "chunked" else kernels.block(q.shape[2], v.shape[2]),
        operator=operator,
    )


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
    width: int,
) -> Tensor:
    """`operate` in a compiled graph, where nothing is differentiated: the kernel is chosen when the graph runs."""
    chosen = choose(backend, q.device.type, False, top_k, width)
    return _operate(backend, chosen, (q, k, v, inverse_rho, cos_theta), key_mask, causal, None, top_k, floor)


@_inferred.register_fake
def _(backend: str, q: Tensor, k: Tensor | None, v: Tensor, *_: Any) -> Tensor:
    return v.new_empty(*q.shape[:2], v.shape[2])
