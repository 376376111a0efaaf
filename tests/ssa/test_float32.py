"""In float32 every form is near the float64 loops, in values and gradients, also where tokens stand far apart."""

import functools
import math

import pytest
import torch

from ssa import SelectiveSynchronizationAttention, reference, synchrony
from ssa.chunked import synchronize
from ssa.dense import synchronize_dense
from ssa.flex import synchronize_flex
from ssa.order import order_parameter

N = 11
NAMES = ("omega", "phi", "v", "alpha", "K")
THETAS = (1.3, math.pi / 2)
FAR = (  # how frequencies (N, d) are moved so that their squares are far larger than their differences
    "first token 1000 times larger",
    "first token far off",
    "all but the first far off",
    "a later token far off",
    "all far off",
)
HARD = ("identical", "one token", "r to 0", "huge alpha", "tiny alpha", "on the boundary")


def moved(omega, case):
    """`omega` (..., N, d) as one of FAR has it."""
    omega = omega.clone()
    if case == "first token 1000 times larger":
        omega[..., 0, :] *= 1000
    elif case == "first token far off":
        omega[..., 0, :] += 100
    elif case == "all but the first far off":
        omega[..., 1:, :] += 100
    elif case == "a later token far off":
        omega[..., 5, :] -= 100
    elif case == "all far off":
        omega += 100
    return omega


def oscillators(case, theta):
    """omega, phi, v, alpha, K of one head, float32. alpha is a power of 4: its root rounds nothing."""
    g = torch.Generator().manual_seed(5)
    omega, phi, v = (std * torch.randn(N, d, generator=g) for d, std in ((3, 0.6), (4, 0.8), (5, 1.0)))
    alpha, K = torch.tensor(0.25), torch.tensor(4.0)
    if case == "identical":
        omega = omega[:1].expand_as(omega) + 3
    elif case == "one token":
        omega, phi, v = omega[:1], phi[:1], v[:1]
    elif case == "r to 0":
        phi[1::2] = phi[0::2][: len(phi[1::2])] + math.pi
        phi[-1] = 0.0
    elif case == "huge alpha":
        alpha = torch.tensor(4.0**10)
    elif case == "tiny alpha":
        alpha = torch.tensor(4.0**-13)
    elif case == "on the boundary":
        omega.zero_()
        omega[1::2, 0] = float(synchrony.locking_radius(alpha, K, 1.0, theta))
        phi.zero_()
    return [x.clone().requires_grad_() for x in (moved(omega, case), phi, v, alpha, K)]


@functools.cache
def by_loops(case, theta, causal):
    """Values, and gradients of their squares for a smooth enough threshold, in float64 from the same numbers."""
    inputs = [x.detach().double().requires_grad_() for x in oscillators(case, theta)]
    omega, phi, v, alpha, K = inputs
    out, S = reference.attend(omega, phi, v, alpha, K, torch.tensor(theta, dtype=torch.double), causal)
    if case == "random" or case in FAR:
        assert 0.2 * N * (N - 1) / 2 < int((S > 0).sum()) - N < 0.9 * N * (N - 1), "both kinds of pairs"
    return out.detach(), torch.autograd.grad(out.square().sum(), inputs, allow_unused=True)


def in_chunks(inputs, theta, causal, cap=None):
    """The chunked operator in chunks of 4, of which 11 is no multiple."""
    omega, phi, v, alpha, K = inputs
    r = order_parameter(phi[None, None], causal)
    inverse_rho = synchrony.inverse_rho(alpha[None], K[None], r).expand(1, 1, len(omega))[0]
    cos_theta = torch.tensor([math.cos(theta)]).clamp_min(0)
    return synchronize((alpha.sqrt() * omega)[None], None, v[None], inverse_rho, cos_theta,
                       causal=causal, cap=cap, chunk=4)[0]  # fmt: skip


def near_the_loops(case, causal):
    for theta in THETAS:
        inputs = oscillators(case, theta)
        expected, exact = by_loops(case, theta, causal)
        out = in_chunks(inputs, theta, causal, cap=5.0)
        # S is the root of its distance to the boundary for pi/2, so what is rounded there comes out as its root.
        atol = 5e-3 if theta == math.pi / 2 and case == "on the boundary" else 3e-5
        assert (out - expected).abs().max() <= atol, (theta, (out - expected).abs().max())
        gradients = torch.autograd.grad(out.square().sum(), inputs)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        if case == "on the boundary":
            continue  # the slope jumps there, for pi/2 to infinity
        found = torch.autograd.grad(in_chunks(inputs, theta, causal).square().sum(), inputs)
        for name, x, a, b in zip(NAMES, inputs, found, exact, strict=True):
            scale = float(x.detach()) if name in ("alpha", "K") else 1.0  # what the logarithm, which is learned, gets
            b = torch.zeros_like(x) if b is None else b
            assert torch.allclose(scale * a.double(), scale * b.double(), atol=1e-3, rtol=1e-3), (name, a, b)


@pytest.mark.parametrize("case", ["random", *FAR, *HARD])
@pytest.mark.parametrize("causal", [True, False])
def test_the_chunked_operator_is_near_the_loops(case, causal):
    near_the_loops(case, causal)


@pytest.mark.parametrize("case", ["random", *FAR, *HARD])
def test_and_so_it_is_with_compiled_maps(case, compiled_always):
    for causal in (True, False):
        near_the_loops(case, causal)


@pytest.mark.parametrize("case", FAR)
@pytest.mark.parametrize("form", ["causal", "bidirectional", "cross"])
def test_all_forms_are_near_float64(case, form):
    """More tokens than a chunk, keys of their own, a mask; also dense, and through FlexAttention."""
    from torch.nn.attention.flex_attention import flex_attention

    g = torch.Generator().manual_seed(1)
    G, M = 2, {"cross": 90}.get(form, 150)
    q, k = (moved(0.3 * torch.randn(G, n, 8, generator=g), case) for n in (150, M))
    v, inverse_rho = torch.randn(G, M, 4, generator=g), 0.2 + torch.rand(G, 150, generator=g)
    inputs = [x.requires_grad_() for x in (q, k, v, inverse_rho, torch.tensor([0.3, 0.5]))]
    settings = {"causal": form == "causal", "floor": 0.1}
    settings["key_mask"] = None if form == "causal" else torch.rand(G, M, generator=g) > 0.3
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = synchronize_dense(*exact, **settings, cap=None)
    theirs = torch.autograd.grad(expected.square().sum(), exact)
    assert expected.abs().mean() > 0.05
    for operator in (synchronize, synchronize_dense):
        out = operator(*inputs, **settings, cap=None)
        assert (out - expected).abs().max() <= 3e-5, (out - expected).abs().max()
        for a, b in zip(torch.autograd.grad(out.square().sum(), inputs), theirs, strict=True):
            assert (a - b).abs().max() <= 1e-3 * b.abs().max(), (a - b).abs().max()
    with torch.no_grad():
        out = synchronize_flex(*(x.detach() for x in inputs), **settings, attend=flex_attention)
    assert (out - expected).abs().max() <= 3e-5, (out - expected).abs().max()


@torch.no_grad()
@pytest.mark.parametrize("case", FAR)
def test_decoding_is_near_float64(case):
    """Token by token through the cache, where the first token may be all that a centre could come from."""
    torch.manual_seed(0)
    layer = SelectiveSynchronizationAttention(12, 2)
    x = moved(torch.randn(2, N, 12), case)
    expected = SelectiveSynchronizationAttention.forward(layer.double(), x.double())
    layer.float()
    cache = layer.init_cache(2)
    for t in range(N):
        y = layer.step(x[:, t], cache)
        # The map that makes frequencies rounds them by 1e-7 of their size.
        assert (y - expected[:, t]).abs().max() <= 1e-4 * expected[:, t].abs().max().clamp_min(1), t


@pytest.mark.parametrize("masked", [True, False])
def test_the_centre_is_amid_the_keys_and_knows_no_more_than_it_may(masked):
    from ssa.chunked import centre

    g = torch.Generator().manual_seed(0)
    keys = torch.randn(2, 40, 3, generator=g) + 100
    keys[:, 0] = 1e5
    mask = (torch.arange(40) % 4 != 1).expand(2, 40) if masked else None
    for known in (8, None):
        middle = centre(keys, mask, known)
        assert middle.shape == (2, 1, 3) and (middle - 100).abs().max() < 2
        other = keys.clone()
        other[:, 8:] += 1000
        assert torch.equal(centre(other, mask, known), middle) == (known == 8)
    none = torch.zeros(2, 40, dtype=torch.bool)
    assert torch.equal(centre(keys, none, None), torch.zeros(2, 1, 3))
