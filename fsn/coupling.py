"""The coupling functions of a trained mixer, in the language of the synchronization literature.

    Gamma_p(Delta) = sum_m |kappa_{m,p}| sin(m Delta + arg kappa_{m,p})
    Delta = theta_p - theta_t                                              p: a token that token t is coupled to

arg kappa is the static Kuramoto-Sakaguchi frustration angle; a harmonic with a negative real part repels (Daido).
Source: arXiv 2606.18694.
"""

import torch
from torch import Tensor

from fsn.attention import SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling

ATTENDED, SUCCESSOR, PREDECESSOR = "attended token", "its successor", "its predecessor"

Mixer = SynchronizationAttention | LocalCoupling | CopyingHead


def coupled_to(layer: Mixer) -> list[str]:
    """The tokens that a mixer has a kernel for: the attended one and its neighbours, or those 1, 2, ... back, ahead."""
    if isinstance(layer, LocalCoupling):
        ways = ("back",) if layer.causal else ("back", "ahead")
        return [f"{tau} {way}" for way in ways for tau in range(1, layer.reach + 1)]
    if isinstance(layer, CopyingHead):
        return [SUCCESSOR]
    return [ATTENDED, SUCCESSOR, PREDECESSOR][: layer.kernel_real.shape[1]]


def coupling_kernel(layer: Mixer) -> Tensor:
    """kappa (M harmonics, P, d) complex, detached: the kernels of a mixer, P in the order of `coupled_to`.

    d is the number of coupled phases, which a copying head has fewer of than the state.
    """
    real = layer.kernel_real.detach()
    imaginary = torch.zeros_like(real) if layer.kernel_imag is None else layer.kernel_imag.detach()
    kernel = torch.complex(real, imaginary)
    return kernel.transpose(0, 1) if isinstance(layer, LocalCoupling) else kernel


def coupling_function(layer: Mixer, difference: Tensor) -> Tensor:
    """Gamma (P, d, points) at differences (points,) in rad: the increment (rad) from one token with weight 1.

    P as of `coupling_kernel`. The tokens of local coupling all have weight 1.
    """
    return kernel_function(coupling_kernel(layer), difference)


def kernel_function(kernel: Tensor, difference: Tensor) -> Tensor:
    """Gamma (..., d, points) of kernels kappa (M, ..., d) complex at differences (points,) in rad."""
    orders = torch.arange(1, len(kernel) + 1, device=kernel.device, dtype=kernel.real.dtype)
    m = orders.view(-1, *(1,) * kernel.ndim)
    return (kernel.abs()[..., None] * torch.sin(m * difference + kernel.angle()[..., None])).sum(0)
