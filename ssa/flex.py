"""Synchronization attention through FlexAttention, for inference on CUDA: softmax attention with the score log S.

softmax_j log S_ij = S_ij / sum_j S_ij, so one fused kernel computes it and no matrix is written to memory. Only for
inference: gradients to what a score function captures are summed in no fixed order, and there are none on a CPU.
Source: the identity is ours, FlexAttention is PyTorch's.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssa.chunked import CHUNK, centre, synchronize
from ssa.rounding import as_multiplied
from ssa.synchrony import strength_and_parts

Attend = Callable[..., Any]


def synchronize_flex(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    *,
    causal: bool,
    key_mask: Tensor | None = None,
    floor: float = 0.0,
    attend: Attend | None = None,
) -> Tensor:
    """out (G, N, W) as `ssa.chunked.synchronize` gives it, whose arguments it takes, without gradients.

    `attend` replaces the compiled kernel, for example by PyTorch's own slow `flex_attention`, which runs anywhere.
    """
    from torch.nn.attention.flex_attention import AuxRequest  # slow to import

    dtype = torch.promote_types(q.dtype, torch.float32)
    same = k is None
    k = q if k is None else k
    q, k, inverse_rho, cos_theta = (x.to(dtype) for x in (q, k, inverse_rho, cos_theta))
    if causal or k.shape[1] <= CHUNK:
        # As the first chunk there, and for its reason: the kernel's own product is float32, around a centre.
        first = q.shape[1] if not causal else CHUNK
        opening = synchronize(
            q[:, :first],
            None if same else k[:, :CHUNK],
            v[:, :CHUNK],
            inverse_rho[:, :first],
            cos_theta,
            causal=causal,
            key_mask=None if key_mask is None else key_mask[:, :CHUNK],
            floor=floor,
            chunk=CHUNK,
        )
        if opening.shape[1] == q.shape[1]:
            return opening
    middle = centre(k, key_mask, CHUNK if causal else None)
    q, k = (as_multiplied(x - middle) for x in (q, k))  # a common offset would cancel badly
    q2, k2 = q.square().sum(-1), k.square().sum(-1)

    def log_strength(product: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        u = (q2[head, i] + k2[head, j] - 2 * product).clamp_min(0)
        if same:
            u = torch.where(i == j, 0.0, u)
        S, _, _ = strength_and_parts(u, inverse_rho[head, i], cos_theta[head])
        if causal:
            S = torch.where(i >= j, S, 0.0)
        if key_mask is not None:
            S = torch.where(key_mask[head, j], S, 0.0)
        return torch.where(S > 0, torch.log(torch.where(S > 0, S, 1.0)), -math.inf)

    blocks = _causal_blocks(q.shape[1], q.device) if causal else None
    attend = attend or _compiled()
    with torch.autocast(q.device.type, enabled=False):  # it would round q and k, but not their squares
        out, aux = attend(
            q[None], k[None], v.to(dtype)[None], log_strength, blocks, scale=1.0, return_aux=AuxRequest(lse=True)
        )
    # A query that locks to nothing: softmax knows no such row, and kernels differ in what they give.
    out = torch.where(torch.isneginf(aux.lse[0])[..., None], 0.0, out[0])
    if floor:  # the logarithm of the sum is log Z without the floor
        out = out * torch.sigmoid(aux.lse[0] - math.log(floor))[..., None]
    out = out.to(v.dtype)
    return torch.cat((opening, out[:, CHUNK:]), dim=1) if causal else out


@functools.cache
def _compiled() -> Attend:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)  # for any length from the second on


@functools.lru_cache(maxsize=16)
def _causal_blocks(length: int, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return i >= j

    return create_block_mask(sees, None, None, length, length, device=device)
