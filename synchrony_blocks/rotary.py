"""Rotary position encoding (RoPE, arXiv 2104.09864): position as a phase drift nu * t of coordinate pairs.

Legend: B batch, H heads, N tokens, P coordinate pairs of a head, nu (P,) drift in rad per token.
"""

import torch
from torch import Tensor, nn

from synchrony_blocks.transforms import follows_operations


class Rotary(nn.Module):
    """The ladder nu_p = base^(-p/P) and the rotation of pairs by nu * t.

    Pairs are (real, imaginary) halves: the last dimension of what is rotated is [real_1..real_P, imag_1..imag_P].
    """

    drift: Tensor

    def __init__(self, n_pairs: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.n_pairs, self.base = n_pairs, base
        self.register_buffer("drift", self._ladder(torch.get_default_device()), persistent=False)
        self._table: tuple[int, Tensor, Tensor] | None = None

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        # Casting a model to bfloat16 must not cast the ladder, and what comes from the meta device comes without one.
        module = super()._apply(fn, recurse)
        self.drift = self._ladder(self.drift.device)
        self._table = None
        return module

    def _ladder(self, device: torch.device) -> Tensor:
        # float64 until the product with t is taken: float32 drift is off by 1e-3 rad after 10^4 tokens.
        places = torch.arange(self.n_pairs, dtype=torch.float64, device="cpu")
        return (self.base ** (-places / self.n_pairs)).to(device)

    def phase(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin of nu * t for t = start..stop-1, each (stop - start, P)."""
        positions = torch.arange(start, stop, dtype=torch.float64, device=self.drift.device)
        angle = positions[:, None] * self.drift
        return angle.cos().to(dtype), angle.sin().to(dtype)

    def table(self, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """`phase(0, length)`, kept from call to call because training asks for the same one every time."""
        compiling = torch.compiler.is_compiling()
        # What is made there must not outlive it.
        if follows_operations() or (not compiling and torch.is_inference_mode_enabled()):
            return self.phase(0, length, dtype)
        table = self._table
        kept = torch.promote_types(dtype, torch.float32)  # one for passes in half precision and those between them
        if table is None or table[0] != length or table[1].dtype != kept or table[1].device != self.drift.device:
            table = (length, *self.phase(0, length, kept))
            self._table = table
        return table[1].to(dtype), table[2].to(dtype)

    @staticmethod
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate x (..., N, 2P) by the angles whose cos and sin (N, P) are given: multiplication by e^{i nu t}."""
        real, imaginary = x.chunk(2, dim=-1)
        return torch.cat((real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1)
