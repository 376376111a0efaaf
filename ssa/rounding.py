"""Frequencies as a matrix product will take them.

u = |q|^2 + |k|^2 - 2 q.k is a small difference of large numbers: unless the squares come from the very numbers that are
multiplied, a token is not even alike itself.
"""

import torch
from torch import Tensor


def as_multiplied(x: Tensor) -> Tensor:
    """x (..., E) rounded to TF32 where float32 products are taken in it (CUDA), else x itself; its gradient is 1."""
    return rounded(x) if in_tf32(x) else x


def in_tf32(x: Tensor) -> bool:
    """Whether products of x are taken in TF32."""
    return x.device.type == "cuda" and x.dtype == torch.float32 and takes_tf32()


def takes_tf32() -> bool:
    """Whether float32 products on CUDA are taken in TF32."""
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # torch's newer setting is in use, and mixing the two is an error
        return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def rounded(x: Tensor) -> Tensor:
    """`to_tf32` with a gradient of 1: the difference can be represented, so the sum is exact."""
    return x + (to_tf32(x.detach()) - x.detach())


def to_tf32(x: Tensor) -> Tensor:
    """float32 x, finite, rounded to the nearest number with 10 bits of mantissa, ties away from zero; still float32."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
