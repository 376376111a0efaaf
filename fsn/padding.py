"""Padding: slots without a token. They attend to nothing and nothing attends to them; no sum knows of them (ours).

The features of padding are set to zero, and every coupling is a product with features: of what padding would give and
what it would get nothing is left, neither as an attended token nor as a neighbour of one. Only a softmax has to be told
by a mask. A slot of padding is a place all the same: positions and neighbours go by slots.

On a CPU the sequences of one length are computed together, without the padding behind them: more of it changes not a
bit. Elsewhere, and in torch.export and torch.func, the mask alone does it, to rounding, so that nothing has to wait for
a device to tell the lengths.

Legend: B batch, N tokens, M tokens that are attended to, d phases.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fsn.phases import Features
from synchrony_blocks.transforms import follows_operations

BY_LENGTH = ("cpu",)  # devices that compute the sequences of one length together


def without(state: Features, padding_mask: Tensor | None) -> Features:
    """Features (B, N, d) with zeros where padding_mask (B, N) is False, even in place of nan."""
    if padding_mask is None:
        return state
    padding = ~padding_mask[:, :, None]
    return Features(*(x.masked_fill(padding, 0) for x in state))


def phases_without(theta: Tensor, memory: Tensor | None, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """theta (B, N, d) and memory (B, M, d) or None in rad, with zeros for padding of what is attended to: whatever
    is there, be it nan, must not reach a gradient.
    """
    if padding_mask is None:
        return theta, memory
    padding = ~padding_mask[:, :, None]
    return (theta.masked_fill(padding, 0), None) if memory is None else (theta, memory.masked_fill(padding, 0))


def couple_real_tokens(
    couple: Callable[[Features, Features | None, Tensor | None], Tensor],
    state: Features,
    memory: Features | None,
    padding_mask: Tensor | None,
) -> Tensor:
    """dtheta (B, N, d) of `couple(state, memory, padding_mask)`, which may rely on features of padding being zero.

    padding_mask (B, M) bool is of the memory, or of the state where there is none; `couple` gets None where a mask
    would say nothing. Padded tokens of the state get zeros.
    """
    if padding_mask is None:
        return couple(state, memory, None)
    is_self = memory is None
    source = without(state if memory is None else memory, padding_mask)
    if padding_mask.device.type not in BY_LENGTH or follows_operations():
        return couple(source, None, padding_mask) if is_self else couple(state, source, padding_mask)
    length = state.cos.shape[1]
    lengths = (padding_mask * torch.arange(1, padding_mask.shape[1] + 1)).amax(1)
    rows, parts = [], []
    for n in lengths.unique().tolist():
        chosen = (lengths == n).nonzero()[:, 0]
        mask = padding_mask[chosen, :n]
        holes = None if mask.all() else mask
        kept = Features(*(x[chosen, :n] for x in source))
        own = Features(*(x[chosen] for x in (source if is_self else state)))
        if n == 0:
            part = 0 * own.cos  # not plain zeros, which would be cut off from every gradient
        elif is_self:
            part = F.pad(couple(kept, None, holes), (0, 0, 0, length - n))
        else:
            part = couple(own, kept, holes)
        rows.append(chosen)
        parts.append(part)
    return torch.cat(parts)[torch.cat(rows).argsort()]
