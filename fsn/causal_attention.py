"""Causal softmax attention whose values may be wider than its keys.

    out_t = sum_{u <= t} A_tu v_u        A_tu = softmax over u <= t of scale q_t . k_u

The coupling kernel reads M harmonics through one attention matrix, so its values are M times as wide as its keys.
PyTorch's fused CPU kernel does not take that and falls back to the whole N x N matrix. On CPU, queries are therefore
taken in chunks, each against its own causal prefix of keys: about half the work, in matrix products. On CUDA the
choice among the kernels that allow unequal widths is PyTorch's.

Legend: B batch, H heads, N tokens, E key width, W value width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64  # queries a chunk (our choice)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Causal attention of q, k (B, H, N, E) and v (B, H, N, W): (B, H, N, W)."""
    if q.device.type == "cpu":
        batch, heads = q.shape[:2]
        out = _ChunkedCausalAttention.apply(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), scale)
        return out.unflatten(0, (batch, heads))
    return library_attention(q, k, v, scale)


def library_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The same by PyTorch's own kernels: what devices other than a CPU take."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)


class _ChunkedCausalAttention(torch.autograd.Function):
    """q, k (G, N, E), v (G, N, W), G = B H. Future keys are never touched, or masked to a weight of exactly zero."""

    # Under bfloat16 autocast this function still works in float32: masks stay exact, and CPUs gain little from less.
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        length = q.shape[1]
        out = torch.empty(*v.shape, dtype=v.dtype)
        weights = []
        for start in range(0, length, CHUNK):
            stop = min(start + CHUNK, length)
            scores = torch.bmm(q[:, start:stop], k[:, :stop].transpose(1, 2)).mul_(scale)
            future = torch.ones(stop - start, stop - start, dtype=torch.bool).triu_(1)
            scores[:, :, start:].masked_fill_(future, float("-inf"))
            weights.append(scores.softmax(-1))
            out[:, start:stop] = torch.bmm(weights[-1], v[:, :stop])
        ctx.save_for_backward(q, k, v, out, *weights)
        ctx.scale = scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] # its decorators are untyped
        q, k, v, out, *weights = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        mean = (grad * out).sum(-1, keepdim=True)  # of the gradient over the attention weights of each query
        stop = 0
        for weight in weights:
            start, stop = stop, stop + weight.shape[1]
            chunk = grad[:, start:stop]
            grad_v[:, :stop].baddbmm_(weight.transpose(1, 2), chunk)
            grad_scores = torch.bmm(chunk, v[:, :stop].transpose(1, 2)).sub_(mean[:, start:stop]).mul_(weight)
            grad_q[:, start:stop] = torch.bmm(grad_scores, k[:, :stop]).mul_(ctx.scale)
            grad_k[:, :stop].baddbmm_(grad_scores.transpose(1, 2), q[:, start:stop], alpha=ctx.scale)
        return grad_q, grad_k, grad_v, None
