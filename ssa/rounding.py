"""Frequencies as a matrix product will take them.

u = |q|^2 + |k|^2 - 2 q.k is a small difference of large numbers: unless the squares come from the very numbers that are
multiplied, a token is not even alike itself.
"""

import torch
from torch import Tensor


def as_multiplied(x: Tensor) -> Tensor:
    """x (..., E) rounded to TF32 where float32 products are taken in it (CUDA), else x itself."""
    if x.device.type != "cuda" or x.dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest":
        return x
    return to_tf32(x)


def to_tf32(x: Tensor) -> Tensor:
    """float32 x, finite, rounded to the nearest number with 10 bits of mantissa, ties away from zero; still float32."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
