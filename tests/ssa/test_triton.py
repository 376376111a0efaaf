"""Triton's kernels give what the loops and PyTorch's chunks give: on CUDA, or in Triton's interpreter.

Without a GPU: TRITON_INTERPRET=1 python -m pytest tests/ssa/test_triton.py, where Triton is installed.
"""

from functools import partial

import pytest
import torch

from ssa import Positions, SelectiveSynchronizationAttention, kernels, reference, synchrony
from ssa.chunked import PYTORCH, Synchronize, synchronize
from ssa.dense import synchronize_dense
from ssa.order import order_parameter
from ssa.rounding import rounded

CUDA = torch.cuda.is_available() and not kernels.INTERPRETED
if not kernels.INSTALLED:
    pytest.skip("Triton is not installed: CUDA builds of PyTorch bring it", allow_module_level=True)
if not CUDA and not kernels.INTERPRETED:
    pytest.skip("no CUDA device; TRITON_INTERPRET=1 runs this on a CPU", allow_module_level=True)

from ssa import triton_kernels  # noqa: E402 # imports Triton

pytestmark = [pytest.mark.cuda] if CUDA else []
DEVICE, DTYPE = ("cuda", torch.float32) if CUDA else ("cpu", torch.float64)  # Float64 tells a slip from rounding
ROUGH = 1e-3 if CUDA else 1e-10  # of gradients that pass through maps and sums
NEAR = {torch.float64: 1e-12, torch.float32: 3e-5}
TRITON = partial(Synchronize.apply, kernels.Form(triton_kernels.attend, triton_kernels.gradients_of_attend))
BLOCK = 16  # the least that Triton multiplies


def close(ours, theirs, near=None):
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.detach(), b.detach()
        error, scale = (a.double() - b.double()).abs().max(), float(b.abs().max().clamp_min(1))
        assert error <= (near or NEAR[a.dtype]) * scale, error


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("theta", [1.3, 1.57])
def test_the_kernels_equal_the_loops(causal, theta):
    """Two blocks, the second not full, widths that are no powers of two, and padding; every gradient."""
    N = BLOCK + 5
    g = torch.Generator().manual_seed(0)
    omega, phi, v = (std * torch.randn(N, d, generator=g).double() for d, std in ((3, 0.8), (4, 0.8), (5, 1.0)))
    inputs = [x.requires_grad_() for x in (omega, phi, v, *torch.tensor([0.1, 6.0, theta], dtype=torch.double))]
    real = torch.arange(N) % 5 != 3
    expected, S = reference.attend(*inputs, causal=causal, real=real.tolist(), floor=0.1)
    assert 0.1 * N * N < int((S > 0).sum()) - N < 0.7 * N * (N - 1), "a test of locking needs both kinds of pairs"

    omega, phi, v, alpha, K, theta = (x.detach().to(DEVICE, DTYPE).requires_grad_() for x in inputs)
    mask = real[None].to(DEVICE)
    r = order_parameter(phi[None, None], causal, mask)
    inverse_rho = synchrony.inverse_rho(alpha[None], K[None], r).expand(1, 1, N)[0]
    q, cos = (alpha.sqrt() * omega)[None], theta.cos()[None]
    settings = {"causal": causal, "key_mask": mask, "cap": None, "floor": 0.1, "chunk": BLOCK}
    out = synchronize(q, None, v[None], inverse_rho, cos, **settings, operator=TRITON)[0] * mask[0, :, None]
    weights = torch.randn(N, 5, generator=g).double()
    ours = torch.autograd.grad((out * weights.to(out)).sum(), (omega, phi, v, alpha, K, theta))
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    assert all(x.abs().max() > 1e-4 for x in theirs)
    close((out.cpu(), *(x.cpu() for x in ours)), (expected, *theirs), ROUGH)


@pytest.mark.parametrize(
    ("same", "causal", "masked", "N", "M", "cap"),
    [
        (True, True, False, 21, 21, 5.0),
        (True, False, True, 21, 21, 5.0),
        (False, True, True, 37, 37, None),
        (False, False, False, 7, 35, 5.0),
        (False, False, True, 21, 9, 5.0),  # few keys: no centre is taken
        (True, True, False, 1, 1, 5.0),
    ],
)
@pytest.mark.parametrize("dtype", {DTYPE, torch.float32, torch.bfloat16}, ids=str)
def test_the_kernels_equal_the_chunks(same, causal, masked, N, M, cap, dtype):
    found, (inputs, settings) = [], operands(same, causal, masked, N, M, dtype)
    for operator in (TRITON, None):
        out = synchronize(*inputs, **settings, cap=cap, chunk=BLOCK, operator=operator)
        weight = torch.linspace(-1, 2, out.numel(), device=DEVICE).view_as(out)
        found.append((out, *torch.autograd.grad((out * weight).sum(), [x for x in inputs if x is not None])))
    close(*found, near=0.01 if dtype == torch.bfloat16 else None)


def operands(same, causal, masked, N, M, dtype):
    g = torch.Generator().manual_seed(0)
    q, k = (0.17 * torch.randn(2, n, 9, generator=g) for n in (N, M))
    v, inverse_rho = torch.randn(2, M, 20, generator=g), 0.2 + torch.rand(2, N, generator=g)
    inputs = [x.to(DEVICE, dtype).requires_grad_() for x in (q, k, v, inverse_rho, torch.tensor([0.1, 0.4]))]
    mask = (torch.arange(M, device=DEVICE) % 4 != 2).expand(2, M) if masked else None
    inputs[1] = None if same else inputs[1]
    u = synchrony.mismatch(q, q if same else k)
    locked = (synchrony.strength(u, inverse_rho[..., None], 0.3) > 0).float().mean()
    assert N == 1 or 0.3 < locked < 0.8, "both kinds of pairs"
    return inputs, {"causal": causal, "key_mask": mask, "floor": 0.0 if same else 0.2}


def test_no_token_knows_a_later_one():
    """To the last bit, within a block too, where far tokens would move a centre."""
    (q, _, v, inverse_rho, cos), settings = operands(True, True, False, 37, 37, torch.float32)
    with torch.no_grad():
        expected = synchronize(q, None, v, inverse_rho, cos, **settings, chunk=BLOCK, operator=TRITON)
        for t in (30, BLOCK, 5, 1):
            q[:, t:], v[:, t:], inverse_rho[:, t:] = 100.0, 7.0, 0.5
            out = synchronize(q, None, v, inverse_rho, cos, **settings, chunk=BLOCK, operator=TRITON)
            assert torch.equal(out[:, :t], expected[:, :t]) and not torch.equal(out, expected)


@pytest.mark.parametrize("moved", ["all", "the first"])
@pytest.mark.parametrize("causal", [True, False])
def test_tokens_far_from_the_origin_keep_their_differences(moved, causal):
    (q, k, *others), settings = operands(False, causal, False, 37, 37, torch.float32)
    with torch.no_grad():
        for x in (q, k):
            x[:, slice(None) if moved == "all" else slice(1)] += 100
    inputs = (q, k, *others)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    out = synchronize(*inputs, **settings, chunk=BLOCK, operator=TRITON)
    expected = synchronize_dense(*exact, **settings)
    close((out,), (expected,))
    close(*(torch.autograd.grad(y.square().sum(), x) for y, x in ((out, inputs), (expected, exact))), near=1e-3)


def test_what_is_rounded_to_tf32_is_summed_as_it_is_multiplied(monkeypatch):
    """As on CUDA: du is rounded before it is summed, or a common offset of the frequencies would not cancel."""
    monkeypatch.setattr("ssa.chunked.as_multiplied", rounded)
    monkeypatch.setattr(triton_kernels, "in_tf32", lambda x: True)
    inputs, settings = operands(True, True, False, 37, 37, torch.float32)
    found = []
    for operator in (TRITON, None):
        out = synchronize(*inputs, **settings, chunk=BLOCK, operator=operator)
        found.append((out, *torch.autograd.grad(out.square().sum(), [x for x in inputs if x is not None])))
    close(*found, near=5e-3)


@pytest.mark.parametrize("form", ["causal", "padded", "cross"])
def test_a_layer_learns_the_same_and_as_one_graph(form):
    torch.manual_seed(0)
    options = {"positions": Positions(lag=1.0), "delayed_heads": 1} if form != "padded" else {}
    layer = SelectiveSynchronizationAttention(12, 2, causal=form == "causal", **options).to(DEVICE, DTYPE)
    x, memory = (torch.randn(1, n, 12, dtype=DTYPE, device=DEVICE) for n in (38, 35))
    given = {"memory": memory} if form == "cross" else {}
    if form == "padded":
        given["padding_mask"] = torch.arange(38, device=DEVICE)[None] < 36
    found = {}
    for layer.backend in ("chunked", "triton"):
        y = layer(x, **given)
        found[layer.backend] = (y, *torch.autograd.grad(y.square().sum(), list(layer.parameters())))
    close(found["triton"], found["chunked"], ROUGH)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y = compiled(x, **given)
    close((y, *torch.autograd.grad(y.square().sum(), list(layer.parameters()))), found["triton"])


def test_gradients_of_gradients_take_the_plain_form():
    inputs, settings = operands(True, True, False, 21, 21, DTYPE)
    found = []
    for operator in (TRITON, None):
        out = synchronize(*inputs, **settings, chunk=BLOCK, operator=operator)
        (first,) = torch.autograd.grad(out.square().sum(), inputs[0], create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), (inputs[0], inputs[2])))
    close(*found)


def test_kernels_that_compute_something_else_are_not_used(monkeypatch):
    inputs, _ = operands(True, True, False, 21, 21, torch.float32)
    ask = partial(kernels.form, "triton", q=inputs[0], k=None, v=inputs[2], key_mask=None, causal=True)
    kernels._triton.cache_clear()
    try:
        assert ask() is ask() is not PYTORCH
        assert ask(q=inputs[0].bfloat16()) is ask(), "halves are computed in float32"
        kernels._triton.cache_clear()
        correct = triton_kernels.gradients_of_attend
        monkeypatch.setattr(triton_kernels, "gradients_of_attend", lambda *x: (-correct(*x)[0], *correct(*x)[1:]))
        with pytest.raises(RuntimeError, match="something else than PyTorch"):
            ask()
    finally:
        kernels._triton.cache_clear()
