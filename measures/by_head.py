"""How synchronized a network is: what its layers report, by layer and head, beside each validation.

Which quantities a layer reports is written in the `diagnostics` of `fsn.attention` and `ssa.inspection`.
"""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from configs.counted import counted
from data.split import Split
from synchrony_blocks.decoder import Decoder

WINDOWS, LONGEST = 4, 512  # of the validation split; their tokens, because what layers report takes N x N matrices
NOT_SHOWN = ("gate",)  # it is what task=coupling measures
SATURATED = 0.95  # share of locked pairs above which a head no longer selects (our choice)

ByHead = dict[str, list[list[float]]]  # quantity -> layer -> head


@torch.no_grad()
def by_head(model: nn.Module, split: Split, context: int) -> ByHead:
    """Means over the first windows of a split, for each layer and head; empty for a model whose layers report
    nothing.
    """
    # Of the class: CUDA graphs put another function in front of a model's own.
    if "return_diagnostics" not in inspect.signature(type(model).forward).parameters:
        return {}
    length = min(context, LONGEST)
    n_windows = min(WINDOWS, len(split) // length)
    windows = torch.from_numpy(split.tokens[: n_windows * length].astype(np.int64)).view(n_windows, 1, length)
    sums: dict[str, list[Tensor]] = {}
    for window in windows.to(next(model.parameters()).device):
        layers = diagnostics_of(model, window)
        for name in layers[0]:
            found = [layer[name].float() for layer in layers]
            if found[0].ndim in (1, 3) and name not in NOT_SHOWN:  # (H,), or (1, H, N); H differs from layer to layer
                means = [(v if v.ndim == 1 else v.mean((0, 2))) / n_windows for v in found]
                sums[name] = [a + b for a, b in zip(sums[name], means, strict=True)] if name in sums else means
        if not sums:  # nothing by head: the transformer shows its maps alone
            return {}
    return {name: [of_layer.tolist() for of_layer in means] for name, means in sums.items()}


def diagnostics_of(model: Any, tokens: Tensor) -> list[dict[str, Tensor]]:
    """What each block of a model reports on tokens (B, N). Without the logits, which may be many."""
    if isinstance(model, Decoder):
        layers: list[dict[str, Tensor]] = []
        model.hidden(tokens, layers)
        return layers
    # Not through __call__, which would compile a compiled model once more.
    return list(model.forward(tokens, return_diagnostics=True)[1])


def warnings(found: ByHead, context: int) -> list[str]:
    """One line for the heads that lock under one pair in `context`, and one for those that lock nearly all."""
    context = min(context, LONGEST)
    heads = [
        (f"layer {layer} head {head}", share)
        for layer, shares in enumerate(found.get("locked_fraction", []))
        for head, share in enumerate(shares)
    ]
    dead = [name for name, share in heads if share < 1 / context]
    full = [name for name, share in heads if share > SATURATED]
    lines, all_heads = [], counted(len(heads), "head")
    if dead:
        lines.append(f"{len(dead)} of {all_heads} lock under 1/{context} of the pairs: {', '.join(dead)}")
    if full:
        lines.append(f"{len(full)} of {all_heads} lock over {SATURATED:.0%} of the pairs: {', '.join(full)}")
    return lines
