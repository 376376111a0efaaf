"""The equations in loops, the pure functions and the chunked operator agree, in values and gradients."""

import math

import pytest
import torch
from scipy.special import lambertw
from torch import Tensor

from ssa import reference, synchrony
from ssa.chunked import synchronize
from ssa.order import order_parameter

N, D_OMEGA, D_PHI, WIDTH = 11, 3, 4, 5


def oscillators(seed=0, spread=1.0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """omega, phi, v, alpha, K of one head: about half of the pairs lock."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((N, D_OMEGA, spread), (N, D_PHI, 0.8), (N, WIDTH, 1.0))
    tensors = [std * torch.randn(n, d, generator=g, dtype=torch.double) for n, d, std in shapes]
    tensors += [torch.tensor(0.1, dtype=torch.double), torch.tensor(6.0, dtype=torch.double)]
    return tuple(tensor.requires_grad_() for tensor in tensors)


def fast(omega, phi, v, alpha, K, theta, causal, real=None, chunk=4, cap=None):
    """The chunked operator on one sequence and head."""
    mask = None if real is None else torch.tensor([real])
    r = order_parameter(phi[None, None], causal, mask)
    inverse_rho = synchrony.inverse_rho(alpha[None], K[None], r).expand(1, 1, len(omega))[0]
    q = (alpha.sqrt() * omega)[None]
    out = synchronize(
        q, None, v[None], inverse_rho, theta.cos()[None], causal=causal, key_mask=mask, cap=cap, chunk=chunk
    )
    return out[0]


@pytest.mark.parametrize("theta", [0.7, 1.3, math.pi / 2])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_the_chunked_operator_equals_the_loops(theta, causal, chunk):
    inputs = *oscillators(), torch.tensor(theta, dtype=torch.double, requires_grad=True)
    expected, S = reference.attend(*inputs, causal)
    off_diagonal = int((S > 0).sum()) - N
    assert 0.15 * N * N < off_diagonal < 0.9 * N * (N - 1), "a test of locking needs both kinds of pairs"
    out = fast(*inputs, causal, chunk=chunk)
    assert torch.allclose(out, expected, atol=1e-10, rtol=0)
    weights = torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    ours = torch.autograd.grad((out * weights).sum(), inputs)
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    for name, a, b in zip(("omega", "phi", "v", "alpha", "K", "theta"), ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10), name
        if name != "theta":
            assert b.abs().max() > 1e-4, name


def test_a_long_sequence_in_its_wider_chunks_is_as_in_narrow_ones(monkeypatch):
    n = 80
    monkeypatch.setattr("ssa.chunked.CHUNK", 8)
    monkeypatch.setattr("ssa.chunked.LONG", (n, 16))
    g = torch.Generator().manual_seed(0)
    omega, v = (torch.randn(6, n, d, generator=g, dtype=torch.double, requires_grad=True) for d in (3, 5))
    rest = torch.full((6, n), 0.3, dtype=torch.double), torch.full((6,), 0.2, dtype=torch.double)
    found = []
    for length in (n, n - 1):  # the second is short
        inputs = omega[:, :length], None, v[:, :length], rest[0][:, :length], rest[1]
        out = synchronize(*inputs, causal=True)
        found.append((out[:, : n - 1], *torch.autograd.grad(out[:, : n - 1].square().sum(), (omega, v))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_padding_neither_locks_nor_counts():
    real = [True, True, False, True, True, False, True, True, True, False, True]
    inputs = *oscillators(1), torch.tensor(1.1, dtype=torch.double)
    for causal in (True, False):
        expected, _ = reference.attend(*inputs, causal, real)
        out = fast(*inputs, causal, real) * torch.tensor(real)[:, None]
        assert torch.allclose(out, expected, atol=1e-10, rtol=0)


def test_the_canonical_form_is_the_three_steps():
    omega, _, _, alpha, K = (x.detach() for x in oscillators(2))
    for theta in (0.5, 1.2, math.pi / 2):
        for r in (0.05, 0.4, 1.0):
            u = synchrony.mismatch(omega * alpha.sqrt(), omega * alpha.sqrt())
            rho = alpha * (K * r) ** 2
            S = synchrony.strength(u, 1 / rho, math.cos(theta))
            for i in range(N):
                for j in range(N):
                    one = reference.strength(
                        omega[i],
                        omega[j],
                        alpha,
                        K,
                        torch.tensor(r, dtype=torch.double),
                        torch.tensor(theta, dtype=torch.double),
                    )
                    assert float(S[i, j]) == pytest.approx(float(one), abs=1e-13)


def test_the_locking_radius_is_where_the_strength_ends():
    for alpha, K, r, theta in ((0.3, 2.0, 0.9, 1.2), (2.0, 0.5, 0.3, math.pi / 2), (1.0, 10.0, 1.0, 0.2)):
        radius = float(synchrony.locking_radius(alpha, K, r, theta))
        rho = alpha * (K * r) ** 2
        for factor, locks in ((0.999, True), (1.001, False)):
            u = torch.tensor(alpha * (factor * radius) ** 2, dtype=torch.double)
            assert bool(synchrony.strength(u, 1 / rho, math.cos(theta)) > 0) == locks


def test_lambert_w_is_scipys():
    x = torch.cat([torch.logspace(-300, 300, 6001, dtype=torch.double), torch.tensor([0.0, 5e-324]).double()])
    expected = torch.as_tensor(lambertw(x.numpy()).real)
    assert torch.allclose(synchrony.lambert_w(x), expected, rtol=1e-15, atol=0)


def test_gradcheck_without_a_cap():
    omega, _, v, _, _ = oscillators(4)
    q = (0.3 * omega.detach())[None].requires_grad_()
    k = (0.3 * torch.roll(omega.detach(), 1, 0) + 0.01)[None].requires_grad_()
    inverse_rho = torch.linspace(0.2, 1.5, N, dtype=torch.double)[None].requires_grad_()
    cos_theta = torch.tensor([0.3], dtype=torch.double, requires_grad=True)
    for causal in (True, False):
        assert torch.autograd.gradcheck(
            lambda *x, causal=causal: synchronize(*x, causal=causal, cap=None, chunk=4, floor=0.1 * causal),
            (q, k, v[None].detach().requires_grad_(), inverse_rho, cos_theta),
        )


def test_gradcheck_without_a_cap_where_queries_are_the_keys():
    omega, _, v, _, _ = oscillators(4)
    q = (0.3 * omega.detach())[None].requires_grad_()
    inverse_rho = torch.linspace(0.2, 1.5, N, dtype=torch.double)[None].requires_grad_()
    cos_theta = torch.tensor([0.3], dtype=torch.double, requires_grad=True)
    mask = (torch.arange(N) % 4 != 2)[None]
    for settings in ({"causal": True}, {"causal": False}, {"causal": False, "key_mask": mask, "floor": 0.1}):
        assert torch.autograd.gradcheck(
            lambda q, *x, settings=settings: synchronize(q, None, *x, **settings, cap=None, chunk=4),
            (q, v[None].detach().requires_grad_(), inverse_rho, cos_theta),
        )


def test_the_cap_bounds_the_slope_at_the_boundary_and_nothing_else():
    """theta = pi/2, a pair just inside the boundary: the exact gradient is enormous, the capped one is not."""
    rho = 1.0
    inside = float(synchrony.locking_radius(1.0, 1.0, 1.0)) * (1 - 1e-9)
    grads = {}
    for cap in (None, 5.0):
        q = torch.tensor([[[0.0], [inside]]], dtype=torch.double, requires_grad=True)
        v = torch.tensor([[[1.0], [-1.0]]], dtype=torch.double)
        ones = torch.full((1, 2), 1 / rho, dtype=torch.double)
        out = synchronize(q, None, v, ones, torch.zeros(1, dtype=torch.double), causal=True, cap=cap)
        grads[cap] = float(torch.autograd.grad(out[0, 1, 0], q)[0].abs().max())
    assert grads[None] > 1e3 and grads[5.0] < 50
    inputs = *oscillators(), torch.tensor(0.7, dtype=torch.double)  # root > cos(theta) e^-u > 0.1 everywhere
    a, b = (torch.autograd.grad(fast(*inputs, True, cap=cap).sum(), inputs[0])[0] for cap in (None, 50.0))
    assert torch.equal(a, b)


def test_a_token_is_locked_to_itself_whatever_rounding_says():
    g = torch.Generator().manual_seed(0)
    q, v = 100 * torch.randn(1, 70, 33, generator=g), torch.randn(1, 70, 4, generator=g)
    inverse_rho, cos_theta = torch.full((1, 70), 1e3), torch.tensor([0.3])
    for causal in (True, False):
        out = synchronize(q, None, v, inverse_rho, cos_theta, causal=causal)
        assert torch.allclose(out, v, atol=1e-6)
