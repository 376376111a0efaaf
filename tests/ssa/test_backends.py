"""Chunked, dense and FlexAttention give the same; which one runs; rounding before a product."""

import logging
import math

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from ssa import Positions, SelectiveSynchronizationAttention, Start, backends, kernels, tiled
from ssa.backends import choose
from ssa.chunked import synchronize
from ssa.dense import synchronize_dense
from ssa.flex import synchronize_flex
from ssa.rounding import rounded, to_tf32

G, N, M = 3, 80, 70  # more than the opening, which FlexAttention leaves to the chunked form
FORMS = [(True, True), (True, False), (False, False), (False, True)]  # same, causal


def operands(same, dtype=torch.double, M=M):
    g = torch.Generator().manual_seed(0)
    keys = N if same else M
    q = 0.25 * torch.randn(G, N, 8, generator=g, dtype=dtype)
    k = None if same else 0.25 * torch.randn(G, M, 8, generator=g, dtype=dtype)
    v = torch.randn(G, keys, 8, generator=g, dtype=dtype)
    inverse_rho = 0.2 + torch.rand(G, N, generator=g, dtype=dtype)
    return q, k, v, inverse_rho, torch.tensor([0.1, 0.3, 0.5], dtype=dtype)


@pytest.mark.parametrize(("same", "causal"), FORMS)
@pytest.mark.parametrize("masked", [True, False])
def test_all_forms_give_the_same(same, causal, masked):
    inputs = operands(same, M=N if causal else M)
    mask = torch.rand(G, inputs[2].shape[1], generator=torch.Generator().manual_seed(1)) > 0.4 if masked else None
    settings = {"causal": causal, "key_mask": mask, "floor": 0.0 if same else 0.2}
    expected = synchronize(*inputs, **settings, cap=None)
    for cap in (None, 5.0):
        assert torch.allclose(synchronize_dense(*inputs, **settings, cap=cap), expected, atol=1e-10)
    assert torch.allclose(synchronize_flex(*inputs, **settings, attend=flex_attention), expected, atol=1e-10)
    if not same:
        far = [100 * inputs[0], *inputs[1:]]  # nothing locks
        assert torch.equal(synchronize_flex(*far, **settings, attend=flex_attention), torch.zeros_like(expected))
        assert torch.equal(synchronize_dense(*far, **settings), torch.zeros_like(expected))


@pytest.mark.parametrize("theta", [1.2, 1.5, math.pi / 2])
@pytest.mark.parametrize("cap", [5.0, None])
def test_dense_and_chunked_have_the_same_gradients(theta, cap):
    torch.manual_seed(0)
    layer = SelectiveSynchronizationAttention(
        12, 2, start=Start(theta=theta), learn_theta=theta < 1.57, cap=cap
    ).double()
    x, grads = torch.randn(2, 70, 12, dtype=torch.double), {}
    for layer.backend in ("chunked", "dense"):
        grads[layer.backend] = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for a, b in zip(*grads.values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)
    if cap is not None and theta > 1.2:  # it acts, or the test says nothing of it
        layer.cap = None
        exact = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
        assert any((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in zip(exact, grads["dense"], strict=True))


def test_which_form_runs(monkeypatch):
    monkeypatch.setattr(kernels, "INSTALLED", True)
    monkeypatch.setattr(kernels, "INTERPRETED", False)
    on_cpu = "native" if tiled.how() == "compiled" else "chunked"
    assert choose("auto", "cpu", True) == choose("auto", "cpu", False) == on_cpu
    assert choose("auto", "cuda", True) == choose("auto", "cuda", False) == choose("triton", "cuda", True) == "triton"
    assert choose("auto", "cuda", True, width=300) == choose("auto", "cpu", True, top_k=3) == "chunked"
    assert choose("auto", "cuda", False, width=300) == choose("flex", "cuda", False) == "flex"
    assert choose("auto", "cuda", False, top_k=3) == "chunked"
    for device, gradients, top_k, words in (
        ("cpu", False, None, "on a CPU"),
        ("cuda", True, None, "with gradients"),
        ("cuda", False, 3, "with top_k"),
    ):
        with pytest.raises(ValueError, match=f"for inference on CUDA and cannot run {words}"):
            choose("flex", device, gradients, top_k)
    for device, top_k, words in (("cuda", None, "on cuda"), ("cpu", 3, "with top_k")):
        with pytest.raises(ValueError, match=f"is for CPUs and cannot run {words}; take 'auto'"):
            choose("native", device, True, top_k)
    for device, top_k, width, words in (
        ("cpu", None, 64, "on a CPU"),
        ("cuda", 3, 64, "with top_k"),
        ("cuda", None, 300, "with a width over 256"),
    ):
        with pytest.raises(ValueError, match=f"'triton' is for CUDA and cannot run {words}; take 'auto'"):
            choose("triton", device, True, top_k, width)
    with pytest.raises(ValueError, match="'flash' is none of auto, native, chunked, triton, flex, dense"):
        SelectiveSynchronizationAttention(12, 2, backend="flash")
    with pytest.raises(ValueError, match="cannot run on a CPU"):
        SelectiveSynchronizationAttention(12, 2, backend="flex")(torch.zeros(1, 3, 12))


def test_without_triton_cuda_takes_what_pytorch_has(monkeypatch):
    monkeypatch.setattr(kernels, "INSTALLED", False)
    assert choose("auto", "cuda", True) == "chunked" and choose("auto", "cuda", False) == "flex"
    with pytest.raises(ValueError, match="cannot run without Triton, which is not installed; take 'auto'"):
        choose("triton", "cuda", True)


def test_where_flex_fails_auto_goes_on_in_chunks_and_says_so_once(monkeypatch, caplog):
    def fails(*_, **__):
        raise RuntimeError("no valid triton config")

    monkeypatch.setattr(backends, "synchronize_flex", fails)
    monkeypatch.setattr(kernels, "INSTALLED", False)
    monkeypatch.setattr(kernels.log, "disabled", False)  # an entry point that ran before may have silenced it
    monkeypatch.setattr(backends, "choose", lambda *_: "flex")
    flat = operands(True, torch.float32)
    inputs = [x if x is None else x[None] for x in flat]
    assert backends.fallen_back() == {}
    settings = {"causal": True, "key_mask": None, "cap": 5.0, "top_k": None, "floor": 0.0}
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                out = backends.operate("auto", *inputs, **settings)
        assert torch.equal(out[0], synchronize(*flat, **settings))
        assert len(caplog.records) == 1 and "no valid triton config" in caplog.text
        assert choose("auto", "cuda", False) == "chunked", "it is not tried again"
        assert "no valid triton config" in backends.fallen_back()["evaluation"]
        with pytest.raises(RuntimeError):
            backends.operate("flex", *inputs, **settings)
    finally:
        kernels.FAILED.clear()


@pytest.mark.parametrize("compiled", [False, True])
def test_where_triton_fails_auto_goes_on_in_chunks_and_says_so_once(monkeypatch, caplog, compiled):
    def fails(*_):
        raise RuntimeError("it computes something else than PyTorch")

    monkeypatch.setattr(kernels, "INSTALLED", True)
    monkeypatch.setattr(kernels, "_triton", fails)
    monkeypatch.setattr(kernels.log, "disabled", False)
    monkeypatch.setattr(backends, "choose", lambda *_: "triton")
    flat = operands(True, torch.float32)
    inputs = [x if x is None else x[None].requires_grad_() for x in flat]
    settings = {"causal": True, "key_mask": None, "cap": None, "top_k": None, "floor": 0.0}
    operate = torch.compile(backends.operate, backend="aot_eager") if compiled else backends.operate
    try:
        for _ in range(2):
            out = operate("auto", *inputs, **settings)
        torch.testing.assert_close(out[0], synchronize(*flat, **settings))
        out.sum().backward()
        assert all(x is None or x.grad.isfinite().all() for x in inputs)
        said = [record.getMessage() for record in caplog.records if record.name == kernels.log.name]
        assert len(said) == 1 and "without Triton, which failed: it computes something else" in said[0]
        assert choose("auto", "cuda", True) == "chunked" and choose("auto", "cuda", False) == "flex"
        assert "something else" in backends.fallen_back()["training"]
        with pytest.raises(RuntimeError, match="something else"):
            backends.operate("triton", *inputs, **settings)
    finally:
        kernels.FAILED.clear()


def test_tf32_keeps_ten_bits_and_rounds_to_nearest():
    x = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 2**-11 - 2**-20, -(1 + 2**-11), 0.0, 1.5e38])
    expected = torch.tensor([1 + 2**-10, 1 + 2**-10, 1.0, -(1 + 2**-10), 0.0, 1.5e38])
    assert torch.allclose(to_tf32(x), expected, rtol=2**-11, atol=0)
    assert torch.equal(to_tf32(x)[:5], expected[:5])
    random = torch.randn(1000)
    assert (to_tf32(random) / random - 1).abs().max() <= 2**-11
    assert torch.equal(to_tf32(to_tf32(random)), to_tf32(random))


@pytest.mark.parametrize(
    "options", [{}, {"positions": Positions(lag=1.0), "delayed_heads": 1}, {"query_frequency": "separate"}], ids=str
)
@pytest.mark.parametrize("form", ["causal", "padded", "cross"])
def test_dense_and_chunked_layers_agree_in_every_form(options, form):
    torch.manual_seed(0)
    layer = SelectiveSynchronizationAttention(12, 2, causal=form == "causal", **options).double()
    x, memory = torch.randn(2, 30, 12, dtype=torch.double), torch.randn(2, 17, 12, dtype=torch.double)
    given = {} if form != "cross" else {"memory": memory}
    if form != "causal":
        given["padding_mask"] = torch.rand(2, 30 if form == "padded" else 17) > 0.3
    found = {}
    for layer.backend in ("chunked", "dense"):
        y, diagnostics = layer(x, return_diagnostics=True, **given)
        found[layer.backend] = (y, *torch.autograd.grad(y.square().sum(), list(layer.parameters())))
    for a, b in zip(*found.values(), strict=True):
        assert torch.allclose(a, b, atol=1e-10)
    v = layer.value(memory if form == "cross" else x).unflatten(-1, (2, -1)).transpose(1, 2)
    mixed = layer.out((diagnostics["attention"] @ v).transpose(1, 2).flatten(2))
    assert torch.allclose(mixed, y, atol=1e-10), "the maps that are shown are those that mix"


def test_memory_that_is_the_sequence_itself_is_still_memory():
    torch.manual_seed(0)
    layer, x = SelectiveSynchronizationAttention(12, 2), torch.randn(1, 9, 12)
    assert torch.equal(layer(x, memory=x), layer(x, memory=x.clone()))


def test_rounding_lets_gradients_through(monkeypatch):
    """As on CUDA with TF32: every parameter still learns, from nearly the same gradient."""
    torch.manual_seed(0)
    layer, x, grads = SelectiveSynchronizationAttention(12, 2, positions=Positions(lag=1.0)), torch.randn(2, 30, 12), []
    for round_them in (lambda tensor: tensor, rounded):
        monkeypatch.setattr("ssa.chunked.as_multiplied", round_them)
        grads.append(torch.autograd.grad(layer(x).square().sum(), list(layer.parameters())))
    for exact, ours in zip(*grads, strict=True):
        assert exact.abs().max() > 0 and (ours - exact).abs().max() <= 0.05 * exact.abs().max()


def test_autocast_around_the_backward_pass_changes_nothing():
    g = torch.Generator().manual_seed(0)
    q, v = (torch.randn(2, 40, 8, generator=g).mul(s).requires_grad_() for s in (0.3, 1.0))
    grads = []
    for enabled in (False, True):
        out = synchronize(q, None, v, torch.full((2, 40), 0.3), torch.tensor([0.1, 0.3]), causal=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            grads.append(torch.autograd.grad(out.square().sum(), (q, v)))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
