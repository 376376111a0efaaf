"""SwiGLU feed-forward (arXiv 2002.05202): W_down( silu(W_gate x) * W_up x ), no bias."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchrony_blocks import native
from synchrony_blocks.transforms import differentiated_again, follows_operations, plain_gradients


class SwiGLU(nn.Module):
    """Map (..., d_in) to (..., d_out) through `width` gated units. Gate and up projections are one matrix."""

    def __init__(self, d_in: int, width: int, d_out: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_in, 2 * width, bias=False)
        self.down = nn.Linear(width, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        return self.down(gated(self.gate_up(x)))


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up (..., width) from both side by side, (..., 2 width); on a CPU in one pass, from which only
    `gate_up` is kept.
    """
    if follows_operations() or not native.takes(gate_up, _check):
        return _plain(gate_up)
    out: Tensor = _Gated.apply(gate_up)
    return out


def _plain(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate_up = gate_up.contiguous()
        ctx.save_for_backward(gate_up)
        out = gate_up.new_empty(*gate_up.shape[:-1], gate_up.shape[-1] // 2)
        _call("swiglu", gate_up, out=out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override] # its decorators are untyped
        (gate_up,) = ctx.saved_tensors
        if differentiated_again():
            (found,) = plain_gradients(_plain, (gate_up,), (grad,))
            assert found is not None
            return found
        found = torch.empty_like(gate_up)
        _call("swiglu_gradient", gate_up, grad.contiguous(), out=found)
        return found


def _call(name: str, gate_up: Tensor, *grad: Tensor, out: Tensor) -> None:
    width = gate_up.shape[-1] // 2
    sizes = (gate_up.numel() // max(1, 2 * width), width, torch.get_num_threads())
    native.call(name, gate_up, *grad, *sizes, out)


def _check() -> None:
    x = torch.linspace(-100, 100, 800, dtype=torch.float32).view(4, 200).requires_grad_()
    grad = torch.linspace(-1, 1, 400, dtype=torch.float32).view(4, 100)
    out, found = torch.empty_like(grad), torch.empty_like(x)
    _call("swiglu", x, out=out)
    _call("swiglu_gradient", x, grad, out=found)
    wanted = _plain(x)
    (expected,) = torch.autograd.grad(wanted, x, grad)
    for ours, theirs in ((out, wanted), (found, expected)):
        if not torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4):
            raise RuntimeError("what it computes is not what it should be")
