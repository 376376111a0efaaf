"""Softmax attention whose values may be wider than its keys, causal or not, and which padding takes no part in.

    out_t = sum_u A_tu v_u        A_tu = softmax of scale q_t . k_u, over u <= t where it is causal

The coupling kernel reads M harmonics through one attention matrix, so its values are M times as wide as its keys.
PyTorch's fused CPU kernel does not take that and falls back to the whole matrix. On CPU, queries are therefore taken in
chunks, each, where it is causal, against its own prefix of keys: about half the work, in matrix products. On CUDA the
choice among the kernels that allow unequal widths is PyTorch's.

Legend: B batch, H heads, N queries, S slots of keys, E key width, W value width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from synchrony_blocks.transforms import differentiated_again, follows_operations, plain_gradients

CHUNK = 64  # queries a chunk (our choice)


def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    *,
    causal: bool = True,
    key_mask: Tensor | None = None,
    barred: int | None = None,
) -> Tensor:
    """Attention of q (B, H, N, E) to k (B, H, S, E) and v (B, H, S, W): (B, H, N, W).

    `causal` needs N = S. `key_mask` (B, S) bool: False for a slot that is not attended; its values must be zero, and
    then a query that may attend to nothing gets zeros. `barred`: query t never attends slot t + barred.
    """
    if follows_operations():
        return attention_weights(q, k, scale, causal=causal, key_mask=key_mask, barred=barred) @ v
    if q.device.type == "cpu":
        batch, heads = q.shape[:2]
        if torch.is_autocast_enabled("cpu"):  # cast here, so that what is saved below has a graph
            q, k, v = (x if x.dtype == torch.float64 else x.float() for x in (q, k, v))
        mask = None if key_mask is None else key_mask.repeat_interleave(heads, dim=0)
        flat = (x.flatten(0, 1) for x in (q, k, v))
        return _ChunkedAttention.apply(*flat, scale, causal, mask, barred).unflatten(0, (batch, heads))
    return library_attention(q, k, v, scale, causal=causal, key_mask=key_mask, barred=barred)


def library_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    *,
    causal: bool = True,
    key_mask: Tensor | None = None,
    barred: int | None = None,
) -> Tensor:
    """The same by PyTorch's own kernels: what devices other than a CPU take."""
    if key_mask is None and barred is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    bias = _bias(q, k, causal, key_mask, barred)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def attention_weights(
    q: Tensor,
    k: Tensor,
    scale: float,
    *,
    causal: bool = True,
    key_mask: Tensor | None = None,
    barred: int | None = None,
) -> Tensor:
    """A (B, H, N, S) of `softmax_attention`, dense. All zeros for a query that may attend to nothing."""
    weights = (q @ k.mT * scale + _bias(q, k, causal, key_mask, barred)).softmax(-1)
    return weights if key_mask is None else weights * key_mask[:, None, None, :]


def _bias(q: Tensor, k: Tensor, causal: bool, key_mask: Tensor | None, barred: int | None) -> Tensor:
    """What is added to scores, (B or 1, 1, N, S): 0 where a slot may be attended."""
    never = torch.zeros(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
    if causal:
        never = torch.ones_like(never).triu(1)
    if barred is not None:
        never.diagonal(barred).fill_(True)
    bias = q.new_zeros(1, 1, *never.shape)
    if key_mask is not None:
        bias = bias.expand(len(q), -1, -1, -1).masked_fill(~key_mask[:, None, None, :], _hidden(q))
    return bias.masked_fill(never, float("-inf"))


def _hidden(scores: Tensor) -> float:
    """The score of a slot that is not attended: its weight is exactly zero beside any other. Minus infinity would make
    not-a-numbers of a row that has no other.
    """
    return torch.finfo(scores.dtype).min


class _ChunkedAttention(torch.autograd.Function):
    """q (G, N, E), k (G, S, E), v (G, S, W), G = B H, key_mask (G, S). Future keys are never touched, or masked to a
    weight of exactly zero.
    """

    # Under bfloat16 autocast this function still works in float32: masks stay exact, and CPUs gain little from less.
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float,
        causal: bool,
        key_mask: Tensor | None,
        barred: int | None,
    ) -> Tensor:
        length = q.shape[1]
        out = torch.empty(len(q), length, v.shape[2], dtype=v.dtype)
        weights = []
        for start in range(0, length, CHUNK):
            stop = min(start + CHUNK, length)
            seen = stop if causal else k.shape[1]
            scores = torch.bmm(q[:, start:stop], k[:, :seen].transpose(1, 2)).mul_(scale)
            if key_mask is not None:
                scores.masked_fill_(~key_mask[:, None, :seen], _hidden(scores))
            if causal:
                future = torch.ones(stop - start, stop - start, dtype=torch.bool).triu_(1)
                scores[:, :, start:].masked_fill_(future, float("-inf"))
            if barred is not None:
                scores.diagonal(start + barred, 1, 2).fill_(float("-inf"))
            weights.append(scores.softmax(-1))
            out[:, start:stop] = torch.bmm(weights[-1], v[:, :seen])
        ctx.save_for_backward(q, k, v, out, *weights)
        ctx.scale, ctx.causal, ctx.key_mask, ctx.barred = scale, causal, key_mask, barred
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] # its decorators are untyped
        q, k, v, out, *weights = ctx.saved_tensors
        if differentiated_again():

            def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                pairs = {"causal": ctx.causal, "key_mask": ctx.key_mask, "barred": ctx.barred}
                weights = attention_weights(q[:, None], k[:, None], ctx.scale, **pairs)
                return weights[:, 0] @ v

            return *plain_gradients(plain, (q, k, v), (grad,)), None, None, None, None
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        mean = (grad * out).sum(-1, keepdim=True)  # of the gradient over the attention weights of each query
        stop = 0
        for weight in weights:
            start, stop, seen = stop, stop + weight.shape[1], weight.shape[2]
            chunk = grad[:, start:stop]
            grad_v[:, :seen].baddbmm_(weight.transpose(1, 2), chunk)
            grad_scores = torch.bmm(chunk, v[:, :seen].transpose(1, 2)).sub_(mean[:, start:stop]).mul_(weight)
            grad_q[:, start:stop] = torch.bmm(grad_scores, k[:, :seen]).mul_(ctx.scale)
            grad_k[:, :seen].baddbmm_(grad_scores.transpose(1, 2), q[:, start:stop], alpha=ctx.scale)
        return grad_q, grad_k, grad_v, None, None, None, None
