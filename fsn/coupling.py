"""The coupling function of a trained layer, in the language of the synchronization literature.

    Gamma_delta(Delta) = sum_m |kappa_{m,delta}| sin(m Delta + arg kappa_{m,delta})
    Delta = theta_{u+delta} - theta_t

arg kappa is the static Kuramoto-Sakaguchi frustration angle; a harmonic with a negative real part repels (Daido).
Source: arXiv 2606.18694.
"""

import torch
from torch import Tensor

from fsn.attention import SynchronizationAttention


def coupling_kernel(layer: SynchronizationAttention) -> Tensor:
    """kappa (M harmonics, delays, d) complex: the kernel of a layer, detached."""
    real = layer.kernel_real.detach()
    imaginary = torch.zeros_like(real) if layer.kernel_imag is None else layer.kernel_imag.detach()
    return torch.complex(real, imaginary)


def coupling_function(layer: SynchronizationAttention, difference: Tensor) -> Tensor:
    """Gamma (delays, d, P) at differences (P,) in rad: the increment (rad) from one token attended with weight 1."""
    return kernel_function(coupling_kernel(layer), difference)


def kernel_function(kernel: Tensor, difference: Tensor) -> Tensor:
    """Gamma (..., delays, d, P) of kernels kappa (M, ..., delays, d) complex at differences (P,) in rad."""
    orders = torch.arange(1, len(kernel) + 1, device=kernel.device, dtype=kernel.real.dtype)
    m = orders.view(-1, *(1,) * kernel.ndim)
    return (kernel.abs()[..., None] * torch.sin(m * difference + kernel.angle()[..., None])).sum(0)
