"""Trained coupling kernels in the words of the synchronization literature, and how ordered a network runs on text.

Source: arXiv 2606.18694 reads arg kappa as a Kuramoto-Sakaguchi frustration angle and a harmonic with a negative real
part as a repulsive Daido component; the statistics over coordinates and the measures of order are our choice.

    resultant    R = |sum_c kappa_c| / sum_c |kappa_c|     coordinates weigh by their strength
    angle        arg sum_c kappa_c
    deviation    sqrt(2 (1 - R)) rad                       angular deviation, 0 to 81 degrees

Legend: W windows, N tokens, H heads, M harmonics, d coordinates, kappa (M, delays, d) complex kernel of a layer.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from configs.errors import UserError
from fsn import SynchronizationAttention, coupling_kernel

NO_DIRECTION = 1e-6  # a resultant below it has no angle: attraction and repulsion cancel to rounding

ByHead = list[list[float]]  # layer -> head


@dataclass(frozen=True)
class Harmonic:
    """One harmonic of one delay over the coordinates of a layer. Angles in rad, nan where there is no direction.

    A summary of d kernels: coordinates that follow and coordinates that keep their phase average to one number, so the
    deviation and the share of repulsive coordinates are to be read with it.
    """

    strength: float  # mean |kappa|, rad for one token attended with weight 1
    angle: float  # in (-pi, pi]
    deviation: float  # in [0, sqrt 2]
    repulsive: float  # share of the coordinates with a negative real part, however weak


@dataclass(frozen=True)
class Order:
    """How ordered the mixers run: means over windows and tokens by layer and head.

    The first token of a window is left out: with a delay it has the null slot alone, without one itself alone.
    """

    # |sum_u A_tu e^{i theta_u}|, mean over coordinates; at most 1 - null. Coordinates whose phases are nearly alike for
    # all tokens (model.grading) raise it, whatever is attended.
    order_parameter: ByHead
    null: ByHead  # weight on the null slot; 0 without a delay
    gate: ByHead  # g_c, mean over coordinates


def mixers(model: nn.Module) -> list[SynchronizationAttention]:
    """The layers with a coupling kernel, in their order. UserError for a model without."""
    layers = [module for module in model.modules() if isinstance(module, SynchronizationAttention)]
    if not layers:
        raise UserError(
            f"task=coupling is for runs of fsn, fsn_native and kuramoto, and {type(model).__name__} has no coupling "
            "kernel; type task=synchrony for what its heads look at"
        )
    return layers


def kernels(model: nn.Module) -> Tensor:
    """kappa (layers, M, delays, d), complex, on the CPU. UserError for a model without coupling kernels."""
    return torch.stack([coupling_kernel(layer).cpu() for layer in mixers(model)])


@torch.no_grad()
def order(model: nn.Module, windows: Tensor) -> Order:
    """The measures of order for windows (W, N) of tokens, N > 1. UserError for a model without coupling kernels."""
    mixers(model)
    found: list[list[Tensor]] = []  # window -> layer -> (3, H)
    for window in windows:  # one at a time: diagnostics hold N x N matrices
        _, layers = model(window[None], return_diagnostics=True)
        by_token = [torch.stack([layer[name][0] for name in ("order_parameter", "null", "gate")]) for layer in layers]
        found.append([of_layer[:, :, 1:].double().mean(-1) for of_layer in by_token])
    means = [torch.stack(of_layer).mean(0).tolist() for of_layer in zip(*found, strict=True)]  # layer -> (3, H)
    return Order(*(list(quantity) for quantity in zip(*means, strict=True)))


def harmonic(kappa: Tensor) -> Harmonic:
    """The measures of one harmonic and delay, kappa (d,) complex; with several seeds, of all their coordinates."""
    kappa = kappa.to(torch.complex128)
    total, strength = kappa.sum(), float(kappa.abs().sum())
    resultant = float(total.abs()) / strength if strength else 0.0
    directed = resultant > NO_DIRECTION
    return Harmonic(
        strength=strength / len(kappa),
        angle=float(total.angle()) if directed else math.nan,
        deviation=math.sqrt(max(0.0, 2 * (1 - resultant))) if strength else math.nan,
        repulsive=float((kappa.real < 0).double().mean()),
    )
