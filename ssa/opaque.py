"""The operator as one node of a compiled graph: torch.compile does not look into it, and so finds no break there.

The loop over chunks would be unrolled in a graph, and what is worth compiling in it is compiled by `ssa.pairs` (our
choice).
"""

from typing import Any

import torch
from torch import Tensor

from ssa import chunked


@torch.library.custom_op("synchrony::attend", mutates_args=())
def _attend(
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
    return chunked.attend(q, k, v, inverse_rho, cos_theta, first_q, first_k, key_mask, causal, cap, top_k, floor, chunk)


@_attend.register_fake
def _(q: Tensor, k: Tensor | None, v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return v.new_empty(*q.shape[:2], v.shape[2]), q.new_empty(q.shape[:2])


@torch.library.custom_op("synchrony::gradients_of_attend", mutates_args=())
def _gradients(
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
    of_q, of_k, *others = chunked.gradients_of_attend(
        grad, q, k, v, inverse_rho, cos_theta, out, Z, key_mask, causal, cap, top_k, chunk
    )
    return of_q, q.new_empty(0) if of_k is None else of_k, *others  # type: ignore[return-value]


@_gradients.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor | None, v: Tensor, inverse_rho: Tensor, cos_theta: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    of_k = q.new_empty(0) if k is None else torch.empty_like(k)
    return torch.empty_like(q), of_k, *(torch.empty_like(x) for x in (v, inverse_rho, cos_theta))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, inverse_rho, cos_theta, _, _, key_mask, causal, cap, top_k, _, chunk = inputs
    ctx.save_for_backward(q, k, v, inverse_rho, cos_theta, *output, key_mask)
    ctx.settings = causal, cap, top_k, chunk


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    _, k, *_ = saved = ctx.saved_tensors
    of_q, of_k, *others = _gradients(grad, *saved, *ctx.settings)
    return of_q, None if k is None else of_k, *others, *[None] * 8


_attend.register_autograd(_backward, setup_context=_save)


def attend(*arguments: Any) -> Tensor:
    """out (G, N, W) of `ssa.chunked.attend`, whose arguments it takes, with a gradient."""
    *tensors, causal, cap, top_k, floor, chunk = arguments
    out: Tensor = _attend(*tensors, causal, None if cap is None else float(cap), top_k, float(floor), chunk)[0]
    return out
