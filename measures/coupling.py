"""Trained coupling kernels in the words of the synchronization literature, and how ordered a network runs on text.

Source: arXiv 2606.18694 reads arg kappa as a Kuramoto-Sakaguchi frustration angle and a harmonic with a negative real
part as a repulsive Daido component; the statistics over coordinates and the measures of order are our choice.

    resultant    R = |sum_c kappa_c| / sum_c |kappa_c|     coordinates weigh by their strength
    angle        arg sum_c kappa_c
    deviation    sqrt(2 (1 - R)) rad                       angular deviation, 0 to 81 degrees

Legend: W windows, N tokens, H heads, M harmonics, d coordinates, kappa (M, d) complex kernel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from configs.errors import UserError
from fsn import SynchronizationAttention, coupling_kernel
from fsn.coupling import Mixer, coupled_to
from fsn.layer import FSNLayer
from fsn.local_coupling import LocalCoupling
from measures.by_head import diagnostics_of

NO_DIRECTION = 1e-6  # a resultant below it has no angle: attraction and repulsion cancel to rounding

ATTENTION, LOCAL, COPYING = "attention", "local", "copying"  # what mixers are called in records and tables

ByHead = list[list[float]]  # layer -> head


@dataclass(frozen=True)
class Kernel:
    """What a mixer of a layer couples a token to, and how; `coupled_to` as of `fsn.coupling`."""

    layer: int
    mixer: str  # ATTENTION, LOCAL or COPYING
    coupled_to: str
    kappa: Tensor  # (M, d) complex


@dataclass(frozen=True)
class Harmonic:
    """One harmonic of one kernel over its coordinates. Angles in rad, nan where there is no direction.

    A summary of d kernels: coordinates that follow and coordinates that keep their phase average to one number, so the
    deviation and the share of repulsive coordinates are to be read with it.
    """

    strength: float  # mean |kappa|, rad for one token attended with weight 1
    angle: float  # in (-pi, pi]
    deviation: float  # in [0, sqrt 2]
    repulsive: float  # share of the coordinates with a negative real part, however weak


@dataclass(frozen=True)
class Order:
    """How ordered the mixers run: means over windows and tokens by layer and head; a copying head is a layer's last.

    Local coupling has no heads. The first token of a window is left out: with a delay it has the null slot alone,
    without one itself alone.
    """

    # |sum_u A_tu e^{i theta_u}|, mean over coordinates; at most 1 - null. Coordinates whose phases are nearly alike for
    # all tokens (model.grading) raise it, whatever is attended.
    order_parameter: ByHead
    null: ByHead  # weight on the null slot; 0 without a delay
    gate: ByHead  # g_c, mean over coordinates


def kernels(model: nn.Module) -> list[Kernel]:
    """The kernels of a model in the order of its layers, on the CPU. UserError for a model without kernels."""
    return [
        Kernel(number, _name(mixer), partner, kappa)
        for number, layer in enumerate(_layers(model))
        for mixer in layer.mixers().values()
        for partner, kappa in zip(coupled_to(mixer), coupling_kernel(mixer).cpu().unbind(1), strict=True)
    ]


def _layers(model: nn.Module) -> list[FSNLayer]:
    layers = [module for module in model.modules() if isinstance(module, FSNLayer)]
    if not layers:
        raise UserError(
            f"task=coupling is for runs of fsn, fsn_native and kuramoto, and {type(model).__name__} has no coupling "
            "kernel; type task=synchrony for what its heads look at"
        )
    return layers


def _name(mixer: Mixer) -> str:
    if isinstance(mixer, LocalCoupling):
        return LOCAL
    return ATTENTION if isinstance(mixer, SynchronizationAttention) else COPYING


def heads_of(mixer: str, kernels: Sequence[Kernel], layer: int) -> slice:
    """The place of a mixer's heads among those of its layer, in `Order`."""
    if mixer == LOCAL:
        return slice(0, 0)
    if mixer == COPYING:
        return slice(-1, None)
    return slice(-1 if any((k.layer, k.mixer) == (layer, COPYING) for k in kernels) else None)


@torch.no_grad()
def order(model: nn.Module, windows: Tensor) -> Order:
    """The measures of order for windows (W, N) of tokens, N > 1. UserError for a model without coupling kernels."""
    _layers(model)
    found: list[list[Tensor]] = []  # window -> layer -> (3, H)
    for window in windows:  # one at a time: diagnostics hold N x N matrices
        layers = diagnostics_of(model, window[None])
        by_token = [torch.stack([layer[name][0] for name in ("order_parameter", "null", "gate")]) for layer in layers]
        found.append([of_layer[:, :, 1:].double().mean(-1) for of_layer in by_token])
    means = [torch.stack(of_layer).mean(0).tolist() for of_layer in zip(*found, strict=True)]  # layer -> (3, H)
    return Order(*(list(quantity) for quantity in zip(*means, strict=True)))


def harmonic(kappa: Tensor) -> Harmonic:
    """The measures of one harmonic of a kernel, kappa (d,) complex; with several seeds, of all their coordinates."""
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
