"""Synchronization attention for float32 on a CPU, by the C++ of `ssa.native`, with its gradients.

The equations are those of `ssa.chunked`. Only q, k, v, 1 / rho, out and Z are saved. Heads are read and written where
they lie, beside each other in a token, so nothing is copied before or after.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from ssa import native
from ssa.chunked import centre
from ssa.dense import synchronize_dense
from synchrony_blocks import native as blocks
from synchrony_blocks.transforms import differentiated_again, plain_gradients


def synchronize_tiled(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    *,
    causal: bool,
    key_mask: Tensor | None = None,
    cap: float | None = 5.0,
    floor: float = 0.0,
) -> Tensor:
    """out (B, H, N, W) from q (B, H, N, E), k (B, H, M, E), v (B, H, M, W), inverse_rho (B, H, N), cos_theta (B, H) and
    key_mask (B, M), which mean what they do in `ssa.chunked.synchronize`. Raises RuntimeError where nothing was built.
    """
    with torch.autocast("cpu", enabled=False):
        inputs = (None if x is None else x.float() for x in (q, k, v, inverse_rho, cos_theta))
        operator = _graph_node if torch.compiler.is_compiling() else _Tiled.apply
        return operator(*inputs, key_mask, causal, cap, floor).to(v.dtype)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        q, k, v, inverse_rho, cos_theta, key_mask, causal, cap, floor = arguments
        out, Z = native.attend(q, k, v, inverse_rho, cos_theta, key_mask, causal, floor)
        ctx.save_for_backward(q, k, v, inverse_rho, cos_theta, out, Z, key_mask)
        ctx.settings = causal, cap, floor
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, inverse_rho, cos_theta, out, Z, key_mask = ctx.saved_tensors
        causal, cap, floor = ctx.settings
        inputs = (q, k, v, inverse_rho, cos_theta)
        if differentiated_again():
            plain = functools.partial(_plain, key_mask=key_mask, causal=causal, cap=cap, floor=floor)
            return *plain_gradients(plain, inputs, (grad,)), *[None] * 4
        found = _gradients(grad, q, k, v, inverse_rho, cos_theta, out, Z, key_mask, causal, cap)
        return *found, *[None] * 4


def _plain(q: Tensor, k: Tensor | None, *others: Tensor, key_mask: Tensor | None, **settings: Any) -> Tensor:
    """The operator in plain operations."""
    mask = None if key_mask is None else key_mask.repeat_interleave(q.shape[1], 0)
    flat = (None if x is None else x.flatten(0, 1) for x in (q, k, *others))
    return synchronize_dense(*flat, key_mask=mask, **settings).unflatten(0, q.shape[:2])  # type: ignore[arg-type]


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
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    keys = q if k is None else k
    real = None if key_mask is None else key_mask.repeat_interleave(q.shape[1], 0)
    middle = centre(keys.flatten(0, 1), real, None).unflatten(0, q.shape[:2])
    return native.gradients_of_attend(grad, q, k, v, inverse_rho, cos_theta, out, Z, key_mask, causal, cap, middle)


# As nodes of a compiled graph, which torch.compile does not look into.


@torch.library.custom_op("synchrony::attend_tiled", mutates_args=())
def _node(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    floor: float,
) -> tuple[Tensor, Tensor]:
    return native.attend(q, k, v, inverse_rho, cos_theta, key_mask, causal, floor)


@_node.register_fake
def _(q: Tensor, k: Tensor | None, v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    B, H, N = q.shape[:3]
    return v.new_empty(B, N, H, v.shape[3]).transpose(1, 2), q.new_empty(B, H, N)


@torch.library.custom_op("synchrony::gradients_of_attend_tiled", mutates_args=())
def _node_of_gradients(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    found = _gradients(grad, q, k, v, inverse_rho, cos_theta, out, Z, key_mask, causal, cap)
    of_q, of_k, *others = (None if x is None else x.contiguous() for x in found)
    return of_q, q.new_empty(0) if of_k is None else of_k, *others  # type: ignore[return-value]


@_node_of_gradients.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor | None, *others: Any) -> tuple[Tensor, ...]:
    of_k = q.new_empty(0) if k is None else k.new_empty(k.shape)
    return q.new_empty(q.shape), of_k, *(x.new_empty(x.shape) for x in others[:3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, key_mask, causal, cap, _ = inputs
    ctx.save_for_backward(*tensors, *output, key_mask)
    ctx.settings = causal, cap


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    _, k, *_ = saved = ctx.saved_tensors
    of_q, of_k, *others = _node_of_gradients(grad, *saved, *ctx.settings)
    return of_q, None if k is None else of_k, *others, *[None] * 4


_node.register_autograd(_backward, setup_context=_save)


def _graph_node(*arguments: Any) -> Tensor:
    *tensors, causal, cap, floor = arguments
    out: Tensor = _node(*tensors, causal, None if cap is None else float(cap), float(floor))[0]
    return out


def how() -> str:
    """Whether this form works: "compiled", or why not. Builds it if it is not there yet."""
    return blocks.how(_check)


def known() -> str:
    """The same as far as it is known without building anything: "compiled" where it is not."""
    return blocks.RESULTS.get(__name__, "compiled")


def _check() -> None:
    """RuntimeError unless the C++ gives what plain operations do."""
    g = torch.Generator().manual_seed(0)

    def random(*shape: int, size: float = 1.0) -> Tensor:
        return (size * torch.randn(shape, generator=g, dtype=torch.float32)).requires_grad_()

    q, k, v = random(1, 2, 70, 5, size=0.2), random(1, 2, 70, 5, size=0.2), random(1, 2, 70, 3)
    weights = random(1, 2, 70, 3).detach()
    inverse_rho = (0.2 + torch.rand(1, 2, 70, generator=g, dtype=torch.float32)).requires_grad_()
    cos_theta = torch.tensor([[0.1, 0.5]], dtype=torch.float32, requires_grad=True)
    inputs = (q, k, v, inverse_rho, cos_theta)
    expected = _plain(*inputs, key_mask=None, causal=True, cap=5.0, floor=0.1)
    theirs = expected, *torch.autograd.grad((expected * weights).sum(), inputs)
    with torch.no_grad():
        out, Z = native.attend(*inputs, None, True, 0.1)
        found = _gradients(weights, *inputs, out, Z, None, True, 5.0)
    for a, b in zip((out, *found), theirs, strict=True):
        if a is None or not torch.allclose(a, b, atol=1e-4, rtol=1e-4):
            raise RuntimeError("what it computes is not what it should be")
