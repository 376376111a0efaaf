"""The order parameter of a sequence or of its prefixes, head by head, remembering only the phases.

    z_i = sum_j e^{i phi_j} over the tokens that i may see        r_i = mean over dimensions of |z_i| / n_i

The backward pass computes z again:

    dphi_j = sum_i g_i / (n_i d) (Im z_i cos phi_j - Re z_i sin phi_j) / |z_i|       over the i that see j

Source: arXiv 2602.14445 for r of a sequence; the prefix and this form of it are our choices.

Legend: B batch, H heads, N tokens, d dimensions, n_i tokens that i may see.
"""

from typing import Any

import torch
from torch import Tensor

from ssa import native
from synchrony_blocks import native as blocks
from synchrony_blocks.transforms import differentiated_again, follows_operations, plain_gradients

TINY = 1e-12  # |z|^2 below which |z| is taken for constant: its gradient at 0 is not a number


def order_parameter(phi: Tensor, causal: bool, padding_mask: Tensor | None = None) -> Tensor:
    """r from phases (B, H, N, d) in rad: (B, H, N), of each token's prefix, if `causal`, else (B, H, 1), of all tokens.

    `padding_mask` (B, N) bool, True for a real token; others do not count. Sums are float32 at least. Never under 1e-6.
    """
    phi = phi.to(torch.promote_types(phi.dtype, torch.float32))
    real = torch.ones(phi.shape[0], phi.shape[2], dtype=phi.dtype, device=phi.device)
    if padding_mask is not None:
        real = real * padding_mask
    r: Tensor = (plain if follows_operations() else _OrderParameter.apply)(phi, real[:, None, :, None], causal)
    return r


def plain(phi: Tensor, real: Tensor, causal: bool) -> Tensor:
    """r as `_OrderParameter` gives it, by plain autograd."""
    _, _, (re, im), n = _sums(phi, real, causal)
    length = (re.square() + im.square()).clamp_min(TINY).sqrt()
    return (length / n).mean(-1).clamp_min(TINY**0.5)


class _OrderParameter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phi: Tensor, real: Tensor, causal: bool) -> Tensor:
        if blocks.takes(phi, _check):
            r = native.order_parameter(phi, real[:, 0, :, 0], causal, TINY)
        else:
            r = torch.cat([_mean_length(*_sums(part, real, causal)[2:]) for part in _heads(phi)], dim=1)
        ctx.save_for_backward(phi, real, r)
        ctx.causal = causal
        return r.clamp_min(TINY**0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] # its decorators are untyped
        phi, real, r = ctx.saved_tensors
        if differentiated_again():
            return *plain_gradients(lambda phi: plain(phi, real, ctx.causal), (phi,), (grad,)), None, None
        grad = torch.where(r > TINY**0.5, grad, 0.0)
        if blocks.takes(phi, _check):
            found = native.gradient_of_order_parameter(grad, phi, real[:, 0, :, 0], ctx.causal, TINY)
            return found, None, None
        parts = []
        for part, g in zip(_heads(phi), _heads(grad), strict=True):
            cos, sin, z, n = _sums(part, real, ctx.causal)
            squared = z[0].square().add_(z[1].square())
            pull = (g[..., None] / (n * phi.shape[3])) * torch.where(squared > TINY, squared, torch.inf).rsqrt_()
            re, im = z[0].mul_(pull), z[1].mul_(pull)
            if ctx.causal:  # what token j gives goes to all later prefixes
                re, im = (x.flip(2).cumsum_(2).flip(2) for x in (re, im))
            parts.append(cos.mul_(im).sub_(sin.mul_(re)).mul_(real))
        return torch.cat(parts, dim=1), None, None


def _heads(x: Tensor) -> tuple[Tensor, ...]:
    """x (B, H, ...) in parts that stay in a processor's cache; on other devices as a whole."""
    return x.split(1 if x.device.type == "cpu" else x.shape[1], dim=1)


def _sums(phi: Tensor, real: Tensor, causal: bool) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
    """cos phi and sin phi (B, H, N, d), (Re z, Im z), each (B, H, N or 1, d), and n (B, 1, N or 1, 1)."""
    cos, sin = phi.cos(), phi.sin()
    c, s, n = cos * real, sin * real, real
    c, s, n = (x.cumsum(2) if causal else x.sum(2, keepdim=True) for x in (c, s, n))
    return cos, sin, (c, s), n.clamp_min(1)


def _mean_length(z: tuple[Tensor, Tensor], n: Tensor) -> Tensor:
    """r (B, H, N or 1)."""
    return z[0].square().add_(z[1].square()).clamp_min_(TINY).sqrt_().div_(n).mean(-1)


def _check() -> None:
    """RuntimeError unless the C++ gives what `plain` does."""
    phi = (torch.arange(700, dtype=torch.float32).square() % 7).view(1, 2, 70, 5).requires_grad_()
    ones = torch.ones(1, 70, dtype=torch.float32)
    r = plain(phi, ones[:, None, :, None], True)
    (expected,) = torch.autograd.grad(r.square().sum(), phi)
    with torch.no_grad():
        ours = native.order_parameter(phi, ones, True, TINY)
        found = native.gradient_of_order_parameter(2 * ours, phi, ones, True, TINY)
    if not torch.allclose(ours, r, atol=1e-4) or not torch.allclose(found, expected, atol=1e-4):
        raise RuntimeError("what it computes is not what it should be")
