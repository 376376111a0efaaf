"""Floating-point operations, counted on the meta device: nothing is allocated."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, bmm_flop


def flops_per_token(model: nn.Module, context: int) -> int:
    """Floating-point operations of a training step per token, forward and backward: its matrix products.

    Attention is counted over the whole window, masked half included, as is the custom of published tables. Of a
    vocabulary in bands it is the loss of a token of the first band, where nearly all are (our choice).
    """
    meta: Any = deepcopy(model).to("meta")
    tokens = torch.zeros(1, context, dtype=torch.int64, device="meta")
    if (bands := getattr(meta, "bands", None)) is not None:
        # A target's band follows from its value, and on the meta device there are none.
        return count_flops(lambda: bands.head(meta.seen(meta.hidden(tokens))).sum().backward()) // context
    return count_flops(lambda: meta(tokens).sum().backward()) // context


def count_flops(compute: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in a call, which is made: on the meta device in no time."""
    # PyTorch counts products that are added to something, but not those added in place.
    in_place = {torch.ops.aten.baddbmm_: lambda _, a, b, **__: bmm_flop(a, b)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        compute()
    return int(counter.get_total_flops())
