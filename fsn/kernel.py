"""How a coupling kernel starts. The papers do not say; all ways are our choice.

Legend: M harmonics, d phases, kappa (M, delays, d) complex kernel, Delta = theta_{u+delta} - theta_t.
"""

import math

import torch
from torch import Tensor

KINDS = ("shared", "first", "copying")


def initial_kernel(kind: str, coupling: float, harmonics: int, n_delays: int, n_phases: int) -> Tensor:
    """The real part of kappa, (M, delays, d); the imaginary part starts at zero, so without frustration.

    "shared": `coupling` for every coordinate and delay, shared out evenly over the harmonics.
    "first": all of it in the first harmonic, the higher ones start at zero and learn what they are for.
    "copying": coordinates take turns to follow the attended token, to follow its successor (with a delay), its
    predecessor (where there is a kernel for it), and to keep their own phase. Those that follow start with the series
    of a sawtooth, 2 sum_m (-1)^(m+1) sin(m Delta) / m = Delta, cut off after M terms and smoothed by Lanczos factors: a
    `coupling` of 1 turns a phase by about the whole difference Delta, which copies the attended phase, and other
    coordinates still tell what it was.
    Raises ValueError for another kind.
    """
    if kind == "shared":
        return torch.full((harmonics, n_delays, n_phases), coupling / harmonics)
    if kind not in KINDS:
        raise ValueError(f"kernel={kind!r} is not one of {', '.join(KINDS)}")
    kappa = torch.zeros(harmonics, n_delays, n_phases)
    if kind == "first":
        kappa[0] = coupling
        return kappa
    for m in range(1, harmonics + 1):
        x = math.pi * m / (harmonics + 1)
        amplitude = 2 * coupling * (-1) ** (m + 1) / m * math.sin(x) / x
        for delay in range(n_delays):
            kappa[m - 1, delay, delay :: n_delays + 1] = amplitude
    return kappa
