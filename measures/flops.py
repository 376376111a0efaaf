"""Floating-point operations, counted on the meta device: nothing is allocated."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, bmm_flop


def flops_per_token(model: nn.Module, context: int) -> int:
    """Floating-point operations of a training step per token, forward and backward: its matrix products.

    Attention is counted over the whole window, masked half included, as is the custom of published tables. Of a
    vocabulary in bands it is the loss of a token of the first band, where nearly all are (our choice).
    """
    tokens = torch.zeros(1, context, dtype=torch.int64, device="meta")
    if getattr(model, "bands", None) is not None:
        meta: Any = deepcopy(model).to("meta")
        # A target's band follows from its value, and on the meta device there are none.
        return count_flops(lambda: meta.bands.head(meta.seen(meta.hidden(tokens))).sum().backward()) // context
    return training_flops(model, tokens) // context


def flops_per_target(translator: nn.Module, source_length: int, target_length: int) -> int:
    """The same of a translator per target token, of one pair of a source and a target of so many tokens each."""
    source, inputs = (
        torch.zeros(1, length, dtype=torch.int64, device="meta") for length in (source_length, target_length)
    )
    return training_flops(translator, source, inputs) // target_length


def training_flops(model: nn.Module, *inputs: Tensor) -> int:
    """Floating-point operations of a training step, forward and backward, on inputs like these, which lie on the meta
    device. The model stays where it is.
    """
    meta = deepcopy(model).to("meta")
    return count_flops(lambda: meta(*inputs).sum().backward())


def count_flops(compute: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in a call, which is made: on the meta device in no time."""
    # PyTorch counts products that are added to something, but not those added in place.
    in_place = {torch.ops.aten.baddbmm_: lambda _, a, b, **__: bmm_flop(a, b)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        compute()
    return int(counter.get_total_flops())
