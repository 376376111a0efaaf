"""One-token decoding of Selective Synchronization Attention: the cache, and the step that adds a token to it.

Our choice: the paper has no causal form. A step costs O(t d) after t tokens, and gives what the layer gives for the
whole sequence at that token.

Legend: B batch, H heads, t tokens seen so far, d width of a head, D = H d, F positional drifts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssa import checks, synchrony
from ssa.chunked import strongest

if TYPE_CHECKING:
    from ssa.attention import SelectiveSynchronizationAttention


def init_cache(layer: SelectiveSynchronizationAttention, batch_size: int) -> dict[str, Any]:
    """Of no token yet: `omega` (B, H, t, content width + 2F) scaled frequencies as keys, `v` (B, H, t, d) values, `cos`
    and `sin` (B, H, d) running sums of e^{i phi}, `previous` the content that the next token's delayed keys have.
    """
    d = layer.d_model // layer.n_heads
    empty = layer.omega.weight.new_empty(batch_size, layer.n_heads, 0, d)
    width = layer.content_width + (2 * layer.amplitude.shape[1] if layer.rotary else 0)
    total = torch.zeros(batch_size, layer.n_heads, d, dtype=torch.promote_types(empty.dtype, torch.float32))
    return {
        "omega": empty.new_empty(batch_size, layer.n_heads, 0, width),
        "v": empty,
        "cos": total.to(empty.device),
        "sin": total.clone().to(empty.device),
        "previous": empty.new_zeros(batch_size, layer.delayed_heads, 1, layer.content_width),
    }


def step(layer: SelectiveSynchronizationAttention, x: Tensor, cache: dict[str, Any]) -> Tensor:
    """One token: x (B, D) -> (B, D); it joins the cache. ValueError for a layer that is not causal, TypeError for what
    is no tensor.
    """
    if not layer.prefix:
        raise ValueError("a layer that is not causal, or knows the whole sequence, cannot decode token by token")
    checks.token(x, cache, layer.d_model)
    x = x[:, None]
    t = cache["omega"].shape[2]
    scale = layer.alpha.sqrt()
    key = query = layer.content(x, layer.omega, scale)
    if layer.query_omega is not None:
        query = layer.content(x, layer.query_omega, scale)
    q = layer.placed(query, t, scale, query=True)
    k = layer.placed(layer.delayed(key, cache["previous"]), t, scale)
    cache["previous"], v = key[:, : layer.delayed_heads], layer.split(layer.value(x))
    phi = layer.split(layer.phi(x))[:, :, 0].to(cache["cos"].dtype)
    cache["cos"], cache["sin"] = cache["cos"] + phi.cos(), cache["sin"] + phi.sin()
    cache["omega"], cache["v"] = torch.cat((cache["omega"], k), dim=2), torch.cat((cache["v"], v), dim=2)
    squared = cache["cos"].square() + cache["sin"].square()
    r = squared.clamp_min(synchrony.TINY).sqrt().div(t + 1).mean(-1, keepdim=True)  # (B, H, 1)
    u = synchrony.mismatch(q, cache["omega"])
    if layer.shared:
        u[..., -1] = 0
    inverse_rho = synchrony.inverse_rho(layer.alpha, layer.K, r)
    S = strongest(synchrony.strength(u, inverse_rho[..., None], layer.cos_theta[:, None, None]), layer.top_k)
    total = S.sum(-1, keepdim=True) + (0.0 if layer.shared else layer.floor)
    mixed = (S / torch.where(total > 0, total, 1.0)).to(v.dtype) @ cache["v"]
    return layer.out(mixed[:, :, 0].flatten(1))
