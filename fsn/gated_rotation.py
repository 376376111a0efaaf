"""Queries and keys from the features of phases, keeping only those features and the gate for the gradients.

    c', s' = cos and sin of theta + nu t        q = [g c', g s']        k = [c', s']

By single operations c' and s' would be kept as well, which are a quarter of what an attention keeps. Our choice.

Legend: B batch, H heads, N tokens, d_h phases of a head.
"""

from typing import Any

import torch
from torch import Tensor

from synchrony_blocks.transforms import differentiated_again, follows_operations, plain_gradients


def query_key(cos: Tensor, sin: Tensor, gate: Tensor, drift_cos: Tensor, drift_sin: Tensor) -> tuple[Tensor, Tensor]:
    """q and k (B, H, N, 2 d_h) from cos theta and sin theta (B, H, N, d_h), a gate that broadcasts to them, and cos and
    sin of nu t (N, d_h), which take no gradient.
    """
    if follows_operations() or torch.compiler.is_compiling():
        return _plain(cos, sin, gate, drift_cos, drift_sin)
    q, k = _QueryKey.apply(cos, sin, gate, drift_cos, drift_sin)
    return q, k


def _plain(cos: Tensor, sin: Tensor, gate: Tensor, drift_cos: Tensor, drift_sin: Tensor) -> tuple[Tensor, Tensor]:
    c, s = rotated(cos, sin, drift_cos, drift_sin)
    return torch.cat((gate * c, gate * s), dim=-1), torch.cat((c, s), dim=-1)


def rotated(cos: Tensor, sin: Tensor, drift_cos: Tensor, drift_sin: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of theta + nu t."""
    return cos * drift_cos - sin * drift_sin, cos * drift_sin + sin * drift_cos


class _QueryKey(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*inputs)
        return _plain(*inputs)

    @staticmethod
    def backward(ctx: Any, of_q: Tensor, of_k: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] # its decorators are untyped
        cos, sin, gate, drift_cos, drift_sin = inputs = ctx.saved_tensors
        if differentiated_again():
            return tuple(plain_gradients(_plain, inputs, (of_q, of_k)))
        a, b = of_q.chunk(2, dim=-1)
        x, y = of_k.chunk(2, dim=-1)
        c, s = rotated(cos, sin, drift_cos, drift_sin)
        of_gate = c.mul_(a).addcmul_(s, b).sum_to_size(gate.shape)
        x, y = torch.addcmul(x, a, gate), torch.addcmul(y, b, gate)
        of_cos = (x * drift_cos).addcmul_(y, drift_sin)
        of_sin = y.mul_(drift_cos).addcmul_(x, drift_sin, value=-1)
        return of_cos, of_sin, of_gate, None, None
