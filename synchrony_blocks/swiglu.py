"""SwiGLU feed-forward (arXiv 2002.05202): W_down( silu(W_gate x) * W_up x ), no bias."""

import torch.nn.functional as F
from torch import Tensor, nn


class SwiGLU(nn.Module):
    """Map (..., d_in) to (..., d_out) through `width` gated units. Gate and up projections are one matrix."""

    def __init__(self, d_in: int, width: int, d_out: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_in, 2 * width, bias=False)
        self.down = nn.Linear(width, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)
