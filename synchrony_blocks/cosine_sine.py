"""Cosine and sine of phases together, whose gradient needs no further one.

    dtheta = cos(theta) dsin - sin(theta) dcos

PyTorch keeps theta for each of the two and computes both again in the backward pass; here the results are kept, which
others keep anyway. Our choice.
"""

from typing import Any

import torch
from torch import Tensor

from synchrony_blocks import native
from synchrony_blocks.transforms import follows_operations


def cosine_sine(theta: Tensor) -> tuple[Tensor, Tensor]:
    """cos theta and sin theta of theta (...) in rad."""
    if follows_operations() or torch.compiler.is_compiling():
        return theta.cos(), theta.sin()
    cosine, sine = _CosineSine.apply(theta)
    return cosine, sine


class _CosineSine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor) -> tuple[Tensor, Tensor]:
        if native.takes(theta, _check):
            theta = theta.contiguous()
            cosine, sine = torch.empty_like(theta), torch.empty_like(theta)
            native.call("cosine_sine", theta, theta.numel(), torch.get_num_threads(), cosine, sine)
        else:
            cosine, sine = theta.cos(), theta.sin()
        ctx.save_for_backward(cosine, sine)
        return cosine, sine

    @staticmethod
    def backward(ctx: Any, of_cosine: Tensor, of_sine: Tensor) -> Tensor:  # type: ignore[override] # its decorators are untyped
        cosine, sine = ctx.saved_tensors  # which have a graph, so this can be differentiated again
        return (cosine * of_sine).addcmul(sine, of_cosine, value=-1)


def _check() -> None:
    theta = torch.linspace(-20, 20, 500, dtype=torch.float32)
    cosine, sine = torch.empty_like(theta), torch.empty_like(theta)
    native.call("cosine_sine", theta, theta.numel(), 1, cosine, sine)
    for ours, theirs in ((cosine, theta.cos()), (sine, theta.sin())):
        if not torch.allclose(ours, theirs, atol=1e-5, rtol=0):
            raise RuntimeError("what it computes is not what it should be")
