"""The fast FSN equals the loops written from the equations, values and gradients, in float64 to 1e-10."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fsn import FSN, CollectiveModes, SynchronizationAttention, coupling_function, coupling_kernel, reference
from fsn.copying import CopyingHead
from fsn.coupling import coupled_to
from fsn.local_coupling import LocalCoupling, _SumOverDistances, sum_over_windows
from fsn.phases import features
from fsn.softmax_attention import library_attention, softmax_attention

VARIANTS = {
    "kuramoto": {"harmonics": 1, "delay": False, "frustration": False},
    "full kernel": {"harmonics": 2, "delay": True, "frustration": True},
    "three harmonics": {"harmonics": 3, "delay": False, "frustration": False},
    "delay only": {"harmonics": 1, "delay": True, "frustration": False},
    "angles only": {"harmonics": 1, "delay": False, "frustration": True},
    "constant gate": {"harmonics": 2, "delay": True, "frustration": True, "gate": "constant"},
    "learned null score": {"null": "learned"},
    "no null slot": {"null": "none"},
    "one quadrature": {"quadratures": 1},
}
NETWORKS = {
    "linear readout": {"readout": "linear"},
    "tied readout": {"readout": "tied", "null": "learned"},
    "mean field": {"feed_forward": "mean_field"},
    "native": {"feed_forward": "native"},
    "kuramoto": VARIANTS["kuramoto"],
    "one quadrature": {"quadratures": 1},
    "limited increments": {"increment_limit": 0.5},
    "limited increments, mean field": {"increment_limit": 0.5, "feed_forward": "mean_field"},
    "limited increments, native": {"increment_limit": 0.5, "feed_forward": "native"},
    "local coupling and copying": {"local_layers": 1, "reach": 2, "copying_layers": 2},
}


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Parameters away from their special starting values, so that every term counts."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module.double()


def gradients(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    weight = torch.linspace(-1, 2, output.numel(), dtype=torch.float64).view_as(output)
    return list(torch.autograd.grad((output * weight).sum(), inputs))


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_synchronization_attention(variant: str, n_heads: int) -> None:
    layer = randomised(SynchronizationAttention(4, n_heads, **VARIANTS[variant]))
    theta = (3 * torch.randn(2, 6, 4, dtype=torch.float64)).requires_grad_()
    inputs = [theta, *layer.parameters()]
    fast = layer(theta)
    slow = torch.stack([reference.synchronization_attention(layer, sequence) for sequence in theta])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("attention", [softmax_attention, library_attention])
@pytest.mark.parametrize("length", [1, 64, 65, 150])
def test_every_chunk_of_a_long_sequence(length: int, attention: Callable[..., Tensor]) -> None:
    """Lengths around the chunk of queries: against one softmax over the whole masked matrix, in float64."""
    q, k = (torch.randn(2, 3, length, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    v = torch.randn(2, 3, length, 12, dtype=torch.float64, requires_grad=True)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    slow = (q @ k.mT * 0.3).masked_fill(future, -torch.inf).softmax(-1) @ v
    fast = attention(q, k, v, 0.3)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(fast, [q, k, v]), gradients(slow, [q, k, v]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("name", ["local", "local, three harmonics", "copying", "copying, all phases"])
def test_local_coupling_and_copying_head(name: str, length: int) -> None:
    layer = randomised(
        {
            "local": lambda: LocalCoupling(4, reach=3),
            "local, three harmonics": lambda: LocalCoupling(4, reach=9, harmonics=3),
            "copying": lambda: CopyingHead(4),
            "copying, all phases": lambda: CopyingHead(4, harmonics=3, share=1.0),
        }[name]()
    )
    loops = reference.local_coupling if isinstance(layer, LocalCoupling) else reference.copying_head
    theta = (3 * torch.randn(2, length, 4, dtype=torch.float64)).requires_grad_()
    inputs = [theta, *layer.parameters()]
    fast = layer(theta)
    slow = torch.stack([loops(layer, sequence) for sequence in theta])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    if length > 1:
        for ours, theirs in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", [{}, {"weighted": False}, {"weighted": False, "quadratures": 2}])
def test_collective_modes(form: dict[str, Any]) -> None:
    layer = randomised(CollectiveModes(5, 3, **form))
    theta = (3 * torch.randn(4, 5, dtype=torch.float64)).requires_grad_()
    inputs = [theta, *layer.parameters()]
    fast = layer(theta)
    slow = torch.stack([reference.collective_modes(layer, state) for state in theta])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", NETWORKS)
def test_the_whole_network(variant: str) -> None:
    """Embedding, two layers and readout: logits and the gradient of every parameter."""
    model = randomised(FSN(5, n_phases=4, n_layers=2, n_heads=2, ff_width=3, **NETWORKS[variant]))
    tokens = torch.tensor([[3, 1, 4, 1, 0, 2], [0, 0, 2, 4, 1, 3]])
    inputs = list(model.parameters())
    fast = model(tokens)
    slow = torch.stack([reference.network(model, sequence) for sequence in tokens])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_coupling_function_is_the_force_of_one_attended_token() -> None:
    layer = randomised(SynchronizationAttention(3, 1, harmonics=3))
    difference = torch.linspace(-3, 3, 7, dtype=torch.float64)
    gamma = coupling_function(layer, difference)
    assert gamma.shape == (2, 3, 7)
    kernel = coupling_kernel(layer)
    for delay in range(2):
        for c in range(3):
            expected = [reference.coupling(kernel[:, delay, c].tolist(), float(x)) for x in difference]
            torch.testing.assert_close(gamma[delay, c], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 3, 20])
def test_local_coupling_on_cuda_is_that_on_a_cpu(length: int) -> None:
    """The operations that CUDA takes, computed here: values and gradients."""
    tokens, kernel = torch.randn(2, 2, length, 6, dtype=torch.float64), torch.randn(2, 8, 6, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (*tokens, *kernel)]
    found = []
    for form in (_SumOverDistances.apply, sum_over_windows):
        out = form(*inputs)
        found.append((*out, *torch.autograd.grad(out[0].sin().sum() + out[1].cos().sum(), inputs)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_local_coupling_is_the_sum_of_its_coupling_functions() -> None:
    layer = randomised(LocalCoupling(3, reach=2, harmonics=3))
    theta = 3 * torch.randn(1, 4, 3, dtype=torch.float64)
    assert coupled_to(layer) == ["1 back", "2 back"]
    expected = torch.zeros(3, dtype=torch.float64)
    for p, tau in enumerate((1, 2)):
        for c in range(3):
            expected[c] += coupling_function(layer, theta[0, 3 - tau, c] - theta[0, 3, c].view(1))[p, c, 0]
    torch.testing.assert_close(layer(theta)[0, 3].detach(), expected)


def test_a_copying_head_is_the_mean_of_its_coupling_function_over_successors() -> None:
    layer = randomised(CopyingHead(4, harmonics=3, share=0.5))
    theta = 3 * torch.randn(1, 4, 4, dtype=torch.float64)
    assert coupled_to(layer) == ["its successor"]
    attention = layer.diagnostics(features(theta))["attention"][0, 0, 3]
    expected = torch.zeros(4, dtype=torch.float64)
    for u in range(3):
        for c in (2, 3):  # the last half of the phases
            gamma = coupling_function(layer, theta[0, u + 1, c] - theta[0, 3, c].view(1))
            expected[c] += attention[u] * gamma[0, c - 2, 0]
    torch.testing.assert_close(layer(theta)[0, 3].detach(), expected)
