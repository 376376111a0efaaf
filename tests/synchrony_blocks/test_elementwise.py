"""Fused elementwise forms of SwiGLU, phases, queries and keys equal plain operations, also differentiated twice."""

import shutil

import pytest
import torch
from torch.func import functional_call, grad

from fsn.gated_rotation import _plain, query_key
from ssa import order, tiled
from synchrony_blocks import cosine_sine as cosine_sine_module
from synchrony_blocks import native, swiglu
from synchrony_blocks.cosine_sine import cosine_sine
from synchrony_blocks.swiglu import SwiGLU, gated


def test_where_a_compiler_is_there_no_check_rejects_what_it_builds():
    """A fault in the C++ makes plain operations take over, and its tests skip: here it fails."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler is here")
    checks = (swiglu._check, cosine_sine_module._check, order._check, tiled._check)
    assert [native.how(check) for check in checks] == ["compiled"] * 4


compiled = pytest.mark.skipif(native.how(swiglu._check) != "compiled", reason="no compiler works here")


def gradients(outputs, inputs):
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    g = torch.Generator().manual_seed(3)
    weights = [torch.randn(y.shape, generator=g).to(y.dtype) for y in outputs]
    return torch.autograd.grad(sum((y * w).sum() for y, w in zip(outputs, weights, strict=True)), inputs)


def exact(x):
    return x.detach().double().requires_grad_()


@compiled
@pytest.mark.parametrize("shape", [(1, 2), (3, 5, 14), (2, 1, 130), (0, 8)])
def test_swiglu_is_near_float64(shape):
    x = (5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    ours, theirs = gated(x), gated(exact(x))
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=1e-6)
    a, b = gradients(ours, x)[0], gradients(gated(y := exact(x)), y)[0]
    torch.testing.assert_close(a.double(), b, atol=2e-6, rtol=2e-6)


@compiled
def test_swiglu_of_what_is_large_or_no_number():
    x = torch.tensor([[1e30, -1e30, torch.nan, torch.inf, 88.0, -88.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    torch.testing.assert_close(gated(x), swiglu._plain(x), equal_nan=True)
    transposed = torch.randn(6, 4).T.requires_grad_()
    torch.testing.assert_close(gated(transposed), swiglu._plain(transposed))


@compiled
@pytest.mark.parametrize("size", [1.0, 100.0, 2000.0, 1e7])
def test_cosine_and_sine_are_near_float64(size):
    theta = (size * torch.randn(3, 700, generator=torch.Generator().manual_seed(1))).requires_grad_()
    ours, theirs = cosine_sine(theta), (exact(theta).cos(), exact(theta).sin())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b, atol=2e-7, rtol=0)
    a, b = gradients(ours, theta)[0], gradients(cosine_sine(other := exact(theta)), other)[0]
    torch.testing.assert_close(a.double(), b, atol=1e-6, rtol=0)


def phases(dtype=torch.double, gate=(2, 3, 5, 4)):
    g = torch.Generator().manual_seed(2)
    cos, sin, gates = (torch.randn(shape, generator=g, dtype=dtype) for shape in ((2, 3, 5, 4), (2, 3, 5, 4), gate))
    drift = torch.randn(5, 4, generator=g, dtype=dtype)
    return [x.requires_grad_() for x in (cos, sin, gates)], (drift.cos(), drift.sin())


@pytest.mark.parametrize("gate", [(2, 3, 5, 4), (1, 3, 1, 4)])
def test_queries_and_keys_are_those_of_plain_operations(gate):
    inputs, drift = phases(gate=gate)
    ours, theirs = query_key(*inputs, *drift), _plain(*inputs, *drift)
    for a, b in zip((*ours, *gradients(ours, inputs)), (*theirs, *gradients(theirs, inputs)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=1e-13)


def test_all_of_them_can_be_differentiated_twice_and_by_torch_func():
    inputs, drift = phases()
    assert torch.autograd.gradgradcheck(lambda *x: query_key(*x, *drift), inputs)
    x = torch.randn(3, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(cosine_sine, x) and torch.autograd.gradcheck(cosine_sine, x)
    assert torch.autograd.gradgradcheck(gated, x)
    single = torch.randn(3, 8, requires_grad=True)  # by way of C++ where there is one
    (first,) = torch.autograd.grad(gated(single).square().sum(), single, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), single)
    (first,) = torch.autograd.grad(gated(double := exact(single)).square().sum(), double, create_graph=True)
    torch.testing.assert_close(
        second.double(), torch.autograd.grad(first.square().sum(), double)[0], atol=1e-4, rtol=1e-4
    )
    layer = SwiGLU(4, 3, 2)
    weights = dict(layer.named_parameters())
    found = grad(lambda w: functional_call(layer, w, (torch.ones(5, 4),)).sum())(weights)
    layer(torch.ones(5, 4)).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)
