"""How synchronized a network is: what its layers report of themselves, by layer and head, beside each validation.

Which quantities a layer reports is written in the `diagnostics` of `fsn.attention` and `ssa.attention`.
"""

import inspect

import numpy as np
import torch
from torch import nn

WINDOWS = 4  # of the validation split
SATURATED = 0.95  # share of locked pairs above which a head no longer selects (our choice)

ByHead = dict[str, list[list[float]]]  # quantity -> layer -> head


@torch.no_grad()
def by_head(model: nn.Module, split: np.ndarray, context: int) -> ByHead:
    """Means over the first windows of a split (n,) uint8, for each layer and head; empty for a model without any."""
    if "return_diagnostics" not in inspect.signature(model.forward).parameters:
        return {}
    n_windows = min(WINDOWS, len(split) // context)
    windows = torch.from_numpy(split[: n_windows * context].astype(np.int64)).view(n_windows, context)
    # Not through __call__, which would compile a compiled model once more.
    _, layers = model.forward(windows.to(next(model.parameters()).device), return_diagnostics=True)
    found: ByHead = {}
    for layer in layers:
        for name, value in layer.items():
            if value.ndim == 1:  # (H,)
                found.setdefault(name, []).append(value.tolist())
            elif value.ndim == 3 and name in ("null", "order_parameter"):  # (B, H, N)
                found.setdefault(name, []).append(value.float().mean((0, 2)).tolist())
    return found


def warnings(found: ByHead, context: int) -> list[str]:
    """One line for the heads that lock under one pair in `context`, and one for those that lock nearly all."""
    heads = [
        (f"layer {layer} head {head}", share)
        for layer, shares in enumerate(found.get("locked_fraction", []))
        for head, share in enumerate(shares)
    ]
    dead = [name for name, share in heads if share < 1 / context]
    full = [name for name, share in heads if share > SATURATED]
    lines = []
    if dead:
        lines.append(f"{len(dead)} of {len(heads)} heads lock under 1/{context} of the pairs: {', '.join(dead)}")
    if full:
        lines.append(f"{len(full)} of {len(heads)} heads lock over {SATURATED:.0%} of the pairs: {', '.join(full)}")
    return lines
