"""The published operator: equal to the equations, and with the three flaws that it is said to have."""

import math

import pytest
import torch

from ssa import SelectiveSynchronizationAttention, locking_radius, published, reference

D, H, N = 16, 2, 10


@pytest.mark.parametrize("top_k", [None, 3])
def test_it_equals_the_equations_in_float32(top_k):
    torch.manual_seed(0)
    layer = published(D, H, top_k)
    layer.omega.weight.data *= 0.2  # so that there is something to compare: see the last test
    layer.log_K.data += 1.0
    x = torch.randn(1, N, D)
    y = layer(x)[0]
    heads = []
    for h in range(H):
        rows = slice(h * D // H, (h + 1) * D // H)
        omega, phi, v = (
            (x[0] @ w[rows].T).double() for w in (layer.omega.weight, layer.phi.weight, layer.value.weight)
        )
        one, K = torch.tensor(1.0, dtype=torch.double), torch.tensor(math.e, dtype=torch.double)
        out, S = reference.attend(omega, phi, v, one, K, one * math.pi / 2, causal=False, top_k=top_k)
        assert int((S > 0).sum()) > 2 * N
        heads.append(out)
    expected = torch.cat(heads, -1) @ layer.out.weight.double().T
    assert torch.allclose(y.double(), expected, atol=1e-5, rtol=0)


def test_its_order_parameter_leaks_the_future_even_behind_a_causal_mask():
    torch.manual_seed(0)
    x = torch.randn(1, N, D)
    other = x.clone()
    other[:, -1] += 5
    for whole, leaks in ((True, True), (False, False)):
        torch.manual_seed(1)
        layer = SelectiveSynchronizationAttention(D, H, causal=True, positions=None)
        if whole:  # r of all tokens, as of a memory
            of_all = layer.order_parameter
            layer.order_parameter = lambda x, is_self, mask, of_all=of_all: of_all(x, False, mask)
        assert (not torch.equal(layer(x)[:, :-1], layer(other)[:, :-1])) == leaks


def test_the_order_parameter_of_the_switch_itself_knows_the_last_token():
    """Bidirectional as it is, r alone would carry the last token to the first."""
    torch.manual_seed(0)
    layer, x = published(D, H), torch.randn(1, N, D)
    other = x.clone()
    other[:, -1] += 5
    r, changed = layer.order_parameter(x), layer.order_parameter(other)
    assert r.shape[2] == 1 and (r - changed).abs().min() > 1e-3


def test_a_locking_radius_needs_positive_couplings():
    for wrong, words in (
        ((-1, 1, 1), "alpha=-1"),
        ((1, 0, 1), "K=0"),
        ((1, 1, -0.5), "r=-0.5"),
        ((1, 1, 1, 3), "theta=3"),
    ):
        with pytest.raises(ValueError, match=words):
            locking_radius(*wrong)


def test_it_is_permutation_equivariant_and_ours_is_not():
    torch.manual_seed(0)
    x, order = torch.randn(1, N, D), torch.randperm(N)
    for layer, equivariant in (
        (published(D, H), True),
        (SelectiveSynchronizationAttention(D, H, causal=False), False),
    ):
        assert torch.allclose(layer(x)[:, order], layer(x[:, order]), atol=1e-5) == equivariant


@pytest.mark.parametrize("length", [64, 256])
def test_at_its_start_no_two_tokens_are_locked_and_nothing_can_learn_to(length):
    torch.manual_seed(0)
    layer = published(512, 8)
    x = torch.randn(2, length, 512, requires_grad=True)
    assert layer.diagnostics(x)["locked_fraction"].max() == 0.0
    layer(x).square().sum().backward()
    assert layer.omega.weight.grad.abs().max() == 0 and layer.log_alpha.grad.abs().max() == 0
    ours = SelectiveSynchronizationAttention(512, 8, causal=False)
    ours(x).square().sum().backward()
    assert ours.omega.weight.grad.abs().max() > 0


def test_top_k_keeps_the_strongest_and_no_more():
    torch.manual_seed(0)
    layer = SelectiveSynchronizationAttention(D, H, causal=True, top_k=3).double()
    x = torch.randn(2, N, D, dtype=torch.double, requires_grad=True)
    attention = layer.diagnostics(x)["attention"]
    assert (attention > 0).sum(-1).max() == 3
    v = layer.value(x).unflatten(-1, (H, -1)).transpose(1, 2)
    expected = layer.out((attention @ v).transpose(1, 2).flatten(2))
    assert torch.allclose(layer(x), expected, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: layer(x).sum((0, 1)), (x[:1, :6].detach().requires_grad_(),))
    torch.manual_seed(0)
    found = layer(torch.randn(1, 40, D, dtype=torch.double), return_diagnostics=True)[1]
    assert (found["attention"] > 0).sum(-1).max() == 3
    assert (found["locked_fraction"] > 3 / 20).all()  # what locks, not what is kept of it
    few, layer.top_k = layer(x[:, :2]), None
    assert torch.equal(few, layer(x[:, :2])), "all of fewer"
    with pytest.raises(ValueError, match="top_k=0 is less than 1"):
        SelectiveSynchronizationAttention(D, H, top_k=0)
