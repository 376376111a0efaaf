"""What becomes of each pair of oscillators in a chunk: two elementwise maps, compiled where a compiler works.

    strengths   u -> S
    gradients   u, dout.v -> S / Z, du, u dy, dS e^{-u}      (equations in ssa/chunked.py)

These maps, not the matrix products, take most of the operator's time when PyTorch runs them one operation at a time.
Inductor compiles both once a process, device type and number of threads, for any shape; sums stay outside, for a loop
with a sum in it is not vectorized. Where no compiler works one line says so and the same functions run eagerly. Our
choice.

Legend: R rows, the queries of some heads, M keys.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssa.synchrony import strength_and_parts

FEWEST = 2**20  # pairs of a call below which compiling does not pay: layers of that size take a millisecond or two
MASKED = 1e30  # added to the |k|^2 of a key that must not lock: its u is out of reach of every query

Maps = tuple[Callable[..., Tensor], Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]]
log = logging.getLogger(__name__)


def strengths(
    product: Tensor, q2: Tensor, inverse_rho: Tensor, cos_theta: Tensor, own: Tensor, last: Tensor, place: Tensor
) -> Tensor:
    """S (R, M) from `product` (R, M), which is |k|^2 - 2 q.k, and of each query |q|^2, 1 / rho and cos theta (R,).

    `own` (R,): the place of the key that is the query itself, whose u is exactly 0, or -1. `last` (R,): the last place
    a query may see. `place` (M,): the keys' places. All of one floating type.
    """
    return _strengths(product, q2, inverse_rho, cos_theta, own, last, place)[1]


def _strengths(
    product: Tensor, q2: Tensor, inverse_rho: Tensor, cos_theta: Tensor, own: Tensor, last: Tensor, place: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u, S, J cos(dphi), J."""
    u = (product + q2[:, None]).clamp_min(0)
    u = torch.where(own[:, None] == place, 0.0, u)
    S, J_cos, J = strength_and_parts(u, inverse_rho[:, None], cos_theta[:, None])
    return u, torch.where(last[:, None] >= place, S, 0.0), J_cos, J


def gradients(
    product: Tensor,
    q2: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    own: Tensor,
    last: Tensor,
    place: Tensor,
    dP: Tensor,
    delta: Tensor,
    inverse_Z: Tensor,
    cap: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S / Z, du, u dy and dS e^{-u}, each (R, M). `dP` (R, M): dout.v; `delta`: dout.out and `inverse_Z`: 1 / Z, (R,);
    `cap` 0-d, infinite for none; the rest as for `strengths`.
    """
    u, S, J_cos, J = _strengths(product, q2, inverse_rho, cos_theta, own, last, place)
    dS = torch.where(S > 0, (dP - delta[:, None]) * inverse_Z[:, None], 0.0)
    dy = dS * torch.minimum(0.5 / J_cos.clamp_min(1e-15), cap)
    tilt = dS * J
    du = cos_theta[:, None] * tilt - dy * (2 * J * J + inverse_rho[:, None])
    # A query's own u is 0 whatever its frequency is. What is not exactly zero here would be noise of its squares.
    return S * inverse_Z[:, None], torch.where(own[:, None] == place, 0.0, du), u * dy, tilt


EAGER: Maps = (strengths, gradients)


def maps(like: Tensor, pairs: int) -> Maps:
    """The two maps for tensors of the type and device of `like`, compiled if a call of `pairs` pairs is worth it."""
    # Float64 is for checks.
    small = pairs < FEWEST or like.dtype != torch.float32 or like.device.type not in ("cpu", "cuda")
    if small:
        return EAGER
    return _compiled(like.device.type, *_state())[0]


def how(device: str) -> str:
    """How large calls are computed on a device type: "compiled", or "eager: " and why. Compiles what is not yet."""
    return _compiled(device, *_state())[1]


def _state() -> tuple[int, bool, str]:
    """What else a compiled map was compiled for: where it differs, the first call would compile the map for its own
    shape, and those after it once more for theirs.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    return torch.get_num_threads(), deterministic, torch.get_float32_matmul_precision()


@functools.cache
def _compiled(device: str, *_: object) -> tuple[Maps, str]:
    """The maps and how they are computed, on a device type in a `_state`. A compiler that fails, or computes something
    else, is not used.
    """
    try:
        # Threads are left to each call: a kernel may come from a cache that another thread count has filled.
        options: dict[str, bool | int | str | Callable[..., object]] = {"cpp.dynamic_threads": True}
        built = tuple(torch.compile(each, dynamic=True, options=options) for each in EAGER)
        arguments = _example(device)
        with torch.no_grad():
            for ours, theirs, n in zip(built, EAGER, (7, 11), strict=True):
                found, expected = ours(*arguments[:n]), theirs(*arguments[:n])
                torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("SSA runs eagerly, at about half the speed, because its compiled part failed: %s", reason)
        return EAGER, f"eager: {reason}"
    strongly, steeply = (_beyond_one(ours, theirs) for ours, theirs in zip(built, EAGER, strict=True))
    return (strongly, steeply), "compiled"


def _beyond_one(compiled: Callable[..., Any], eager: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled map, except for a single row or key: for that size it would be compiled anew."""
    return lambda product, *others: (compiled if min(product.shape) > 1 else eager)(product, *others)


def _example(device: str) -> tuple[Tensor, ...]:
    """Arguments to compile for. No two sizes are equal: what is equal here would have to be so in every call."""
    R, M = 372, 1000
    generator = torch.Generator("cpu").manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device="cpu").to(device)

    q, k = uniform(R, 8), uniform(M, 8)
    product = k.square().sum(1) - 2 * q @ k.T
    rows = torch.arange(R, dtype=torch.float32, device=device)
    place = torch.arange(M, dtype=torch.float32, device=device)
    inverse_rho, cos_theta = 0.2 + uniform(R), 0.1 + 0.5 * uniform(R)
    queries = (q.square().sum(1), inverse_rho, cos_theta, rows, 2 * rows, place)
    return product, *queries, uniform(R, M), uniform(R), uniform(R), torch.tensor(5.0, device=device)
