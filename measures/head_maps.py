"""What the heads of a model look at: their maps on text, how much they differ, and how widely they look.

Maps are the row-normalised weights that a layer mixes values with: softmax attention, or S over its row sum. Source:
the synchronization test of arXiv 2602.14445; the measures are our choice.

Legend: W windows, H heads, N tokens, A (W, H, N, N) maps, causal.
"""

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from configs.errors import UserError
from measures.by_head import diagnostics_of


@dataclass(frozen=True)
class Heads:
    """Measures of one layer, means over windows and rows, but the first row, where there is nothing to choose.

    A layer without heads has no diversity, and no other measure of any head.
    """

    # Total variation between the maps of two heads, mean over pairs, in [0, 1]; 0 for one head, None for no head.
    diversity: float | None
    entropy: list[float]  # by head: entropy of a row over the logarithm of the tokens it may see, in [0, 1]
    active: list[float]  # by head: share of the pairs it may weigh and does


@torch.no_grad()
def head_maps(model: nn.Module, windows: Tensor) -> list[Tensor]:
    """A of each layer for windows (W, N) of tokens. UserError for a model that does not show its maps."""
    if "return_diagnostics" not in inspect.signature(type(model).forward).parameters:
        raise UserError(f"{type(model).__name__} does not show what its heads look at")
    layers = diagnostics_of(model, windows)
    return [normalised(layer["attention"].float()) for layer in layers]


def normalised(A: Tensor) -> Tensor:
    """A with rows that sum to one, those that are zero left alone: FSN may give weight to its null slot."""
    total = A.sum(-1, keepdim=True)
    return A / torch.where(total > 0, total, 1.0)


def measure_heads(A: Tensor) -> Heads:
    """The measures of one layer's maps (W, H, N, N), H = 0 for a layer that couples without attention."""
    if A.shape[1] == 0:
        return Heads(None, [], [])
    A = A[:, :, 1:].double()
    n_heads, length = A.shape[1], A.shape[3]
    distances = [(A[:, g] - A[:, h]).abs().sum(-1).mean() / 2 for g in range(n_heads) for h in range(g)]
    seen = torch.arange(2, length + 1, dtype=A.dtype, device=A.device)  # by row
    entropy = torch.special.entr(A).sum(-1) / seen.log()
    return Heads(
        diversity=float(torch.stack(distances).mean()) if distances else 0.0,
        entropy=entropy.mean((0, 2)).tolist(),
        active=((A > 0).sum((0, 2, 3)) / (len(A) * seen.sum())).tolist(),
    )
