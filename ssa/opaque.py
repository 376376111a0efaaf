"""The operator as one node of a compiled graph: torch.compile does not look into it, and so finds no break there.

The loop over chunks would be unrolled in a graph, and what is worth compiling in it is compiled by `ssa.pairs` (our
choice).
"""

from typing import Any

import torch
from torch import Tensor

from ssa.kernels import form


@torch.library.custom_op("synchrony::attend", mutates_args=())
def _attend(
    name: str,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    first_q: Tensor | None,
    first_k: Tensor | None,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    top_k: int | None,
    floor: float,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    inputs = q, k, v, inverse_rho, cos_theta
    computed = form(name, q, k, v, key_mask, causal)
    return computed.attend(*inputs, first_q, first_k, key_mask, causal, cap, top_k, floor, chunk)


@_attend.register_fake
def _(_name: str, q: Tensor, k: Tensor | None, v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return v.new_empty(*q.shape[:2], v.shape[2]), q.new_empty(q.shape[:2])


@torch.library.custom_op("synchrony::gradients_of_attend", mutates_args=())
def _gradients(
    name: str,
    grad: Tensor,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    out: Tensor,
    Z: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    top_k: int | None,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    computed, inputs = form(name, q, k, v, key_mask, causal), (q, k, v, inverse_rho, cos_theta)
    of_q, of_k, *others = computed.gradients(grad, *inputs, out, Z, key_mask, causal, cap, top_k, chunk)
    found = of_q, q.new_empty(0) if of_k is None else of_k, *others
    return tuple(x.contiguous() for x in found)  # type: ignore[return-value, union-attr] # forms differ in it


@_gradients.register_fake
def _(
    _name: str, grad: Tensor, q: Tensor, k: Tensor | None, v: Tensor, inverse_rho: Tensor, cos_theta: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    of_k = q.new_empty(0) if k is None else k.new_empty(k.shape)
    return q.new_empty(q.shape), of_k, *(x.new_empty(x.shape) for x in (v, inverse_rho, cos_theta))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    name, q, k, v, inverse_rho, cos_theta, _, _, key_mask, causal, cap, top_k, _, chunk = inputs
    ctx.save_for_backward(q, k, v, inverse_rho, cos_theta, *output, key_mask)
    ctx.name, ctx.settings = name, (causal, cap, top_k, chunk)


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    _, k, *_ = saved = ctx.saved_tensors
    of_q, of_k, *others = _gradients(ctx.name, grad, *saved, *ctx.settings)
    return None, of_q, None if k is None else of_k, *others, *[None] * 8


_attend.register_autograd(_backward, setup_context=_save)


def attend(name: str, *arguments: Any) -> Tensor:
    """out (G, N, W) of `ssa.chunked.attend`, whose arguments it takes, with a gradient; `name` as for `ssa.kernels`."""
    *tensors, causal, cap, top_k, floor, chunk = arguments
    out: Tensor = _attend(name, *tensors, causal, None if cap is None else float(cap), top_k, float(floor), chunk)[0]
    return out
