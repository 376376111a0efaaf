"""The C++ form: near float64 in values and gradients, exactly causal, for any shape; and without a compiler."""

import itertools
import shutil
from contextlib import contextmanager

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssa import order
from ssa import tiled as form
from ssa.backends import choose, operate
from ssa.dense import synchronize_dense
from ssa.order import order_parameter
from ssa.tiled import synchronize_tiled
from synchrony_blocks import native as blocks

pytestmark = pytest.mark.skipif(form.how() != "compiled", reason=f"no compiler works here: {form.how()}")


def operands(G, N, M, E, W, same=False, seed=0):
    g = torch.Generator().manual_seed(seed)
    width = (0.35 / E) ** 0.5  # u of about 0.7: part of the pairs lock
    q, k = (width * torch.randn(G, n, E, generator=g) for n in (N, M))
    v = torch.randn(G, M, W, generator=g)
    inverse_rho, cos_theta = 0.1 + torch.rand(G, N, generator=g), 0.1 + 0.4 * torch.rand(G, generator=g)
    return [x if x is None else x.requires_grad_() for x in (q, None if same else k, v, inverse_rho, cos_theta)]


def tiled(q, k, v, inverse_rho, cos_theta, key_mask=None, **settings):
    """The C++ form, on G sequences of one head, or on one of G heads, as `ssa.chunked.synchronize` takes them."""
    inputs = [x if x is None else x[None] for x in (q, k, v, inverse_rho, cos_theta)]
    if key_mask is not None:  # which differs between sequences
        inputs = [x if x is None else x.transpose(0, 1) for x in inputs]
    out = synchronize_tiled(*inputs, key_mask=key_mask, **settings)
    return out[:, 0] if key_mask is not None else out[0]


def values_and_gradients(operator, inputs, **settings):
    out = operator(*inputs, **settings)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(out.dtype)
    return out, *torch.autograd.grad((out * weights).sum(), [x for x in inputs if x is not None])


def near_float64(inputs, **settings):
    exact = [None if x is None else x.detach().double().requires_grad_() for x in inputs]
    expected = values_and_gradients(synchronize_dense, exact, **settings)
    found = values_and_gradients(tiled, inputs, **settings)
    for name, a, b in zip(("out", "q", *("k", "v", "rho", "cos")[-len(found) + 2 :]), found, expected, strict=True):
        allowed = 1e-5 if name == "out" else 3e-4  # slopes are steep at the boundary
        assert (a - b).abs().max() <= allowed * b.abs().max().clamp_min(1), (name, settings, (a - b).abs().max())
    return expected


@pytest.mark.parametrize(
    ("G", "N", "M", "E", "W"),
    [
        (1, 1, 1, 1, 1),
        (2, 3, 3, 5, 2),
        (3, 64, 64, 16, 16),
        (2, 65, 65, 33, 17),
        (2, 130, 130, 48, 32),
        (1, 200, 200, 80, 64),
        (1, 70, 70, 7, 130),
        (2, 90, 40, 9, 5),
        (2, 1, 150, 12, 8),
    ],
)
def test_any_shape_mask_and_cap_is_near_float64(G, N, M, E, W):
    for causal, same, masked, cap in itertools.product((True, False), (True, False), (True, False), (5.0, None)):
        if (causal or same) and N != M:
            continue
        mask = torch.rand(G, M, generator=torch.Generator().manual_seed(1)) > 0.3 if masked else None
        near_float64(operands(G, N, M, E, W, same), causal=causal, key_mask=mask, cap=cap, floor=0.1)


def test_part_of_the_pairs_lock_and_the_cap_acts():
    """Without both the test above says little."""
    q, k, v, inverse_rho, cos_theta = operands(2, 130, 130, 48, 32)
    ones = torch.ones(2, 130, 1)
    share = tiled(q, k, ones.requires_grad_(), inverse_rho, cos_theta, causal=False, floor=1e-3)
    assert 0.2 < (share > 0.5).float().mean() <= 1
    grads = [
        values_and_gradients(tiled, (q, k, v, inverse_rho, cos_theta), causal=False, floor=0.1, cap=cap)
        for cap in (0.6, None)
    ]
    assert (grads[0][1] - grads[1][1]).abs().max() > 1e-2 * grads[1][1].abs().max()


@torch.no_grad()
def test_no_bit_of_a_token_depends_on_later_ones():
    q, k, v, inverse_rho, cos_theta = operands(2, 150, 150, 9, 5)
    out = tiled(q, k, v, inverse_rho, cos_theta, causal=True, floor=0.1)
    for t in (0, 1, 62, 63, 64, 100, 148):
        later = [x.clone() for x in (q, k, v, inverse_rho)]
        for x in later:
            x[:, t + 1 :] = 1e3 * torch.randn(x[:, t + 1 :].shape)
        q_, k_, v_, inverse_rho_ = later
        other = tiled(q_, k_, v_, inverse_rho_, cos_theta, causal=True, floor=0.1)
        assert torch.equal(out[:, : t + 1], other[:, : t + 1]) and not torch.equal(out, other), t


@torch.no_grad()
def test_what_is_no_number_stays_none():
    inputs = operands(1, 70, 70, 9, 5)
    inputs[0][0, 66, 3] = torch.nan
    out = tiled(*inputs, causal=True)
    assert out[0, 66].isnan().all() and out[0, :66].isfinite().all() and out[0, 67:].isfinite().all()
    phi = torch.randn(1, 1, 5, 3)
    phi[0, 0, 2, 1] = torch.nan
    assert order_parameter(phi, True).isnan().tolist() == [[[False, False, True, True, True]]]


def test_threads_and_repetition_change_no_bit():
    inputs, threads = operands(5, 130, 130, 20, 9), torch.get_num_threads()
    phi = (3 * torch.randn(2, 3, 100, 7)).requires_grad_()
    found = []
    try:
        for n in (1, 2, 2):
            torch.set_num_threads(n)
            r = order_parameter(phi, True)
            more = r, *torch.autograd.grad(r.square().sum(), phi)
            found.append((*values_and_gradients(tiled, inputs, causal=True, floor=0.1), *more))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("layout", ["split", "dense", "every other"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("size", [1.0, 300.0, 1e6])
def test_the_order_parameter_is_near_float64(layout, causal, size):
    """Phases beyond 8,192 rad leave the reduction that is exact below."""
    g = torch.Generator().manual_seed(2)
    phi = size * torch.randn(2, 9, 3, 5, generator=g)
    phi = {
        "split": phi.transpose(1, 2),
        "dense": phi.transpose(1, 2).contiguous(),
        "every other": phi.transpose(1, 2)[..., ::2],
    }[layout]
    phi = phi.detach().requires_grad_()
    mask = torch.rand(2, 9, generator=g) > 0.3
    mask[1] = False  # a sequence of padding alone
    for real in (None, mask):
        exact = phi.detach().double().requires_grad_()
        ones = torch.ones(2, 9, dtype=torch.double) * (1 if real is None else real)
        expected = order.plain(exact, ones[:, None, :, None], causal)
        found = order_parameter(phi, causal, real)
        assert (found - expected).abs().max() <= 2e-6
        weights = torch.randn(found.shape, generator=g)
        (a,), (b,) = (torch.autograd.grad((r * weights).sum(), x) for r, x in ((found, phi), (expected, exact)))
        assert (a - b).abs().max() <= 1e-5 and (b.abs().max() > 1e-3)


def forget():
    blocks.RESULTS.clear()
    blocks._loaded.cache_clear()


@pytest.fixture
def forgotten(monkeypatch, tmp_path):
    """As a new process has it, with a cache of its own."""
    monkeypatch.setenv("SYNCHRONY_CACHE", str(tmp_path / "cache"))
    forget()
    monkeypatch.setattr(blocks.log, "disabled", False)  # an entry point that ran before may have silenced it
    yield tmp_path / "cache"
    monkeypatch.undo()
    forget()


def test_it_is_built_once_a_machine_and_again_where_the_file_is_broken(forgotten, monkeypatch):
    assert form.how() == "compiled"
    (built,) = forgotten.iterdir()
    made = built.stat().st_mtime_ns
    forget()
    assert form.how() == "compiled" and built.stat().st_mtime_ns == made
    copy = shutil.copytree(forgotten, forgotten.with_name("other")) / built.name
    copy.write_bytes(copy.read_bytes()[:1000])
    monkeypatch.setenv("SYNCHRONY_CACHE", str(copy.parent))
    forget()
    assert form.how() == "compiled" and copy.read_bytes() == built.read_bytes()


@pytest.mark.parametrize("folder", ["a file", "others may write", "no home"])
def test_where_nothing_can_be_kept_it_is_built_all_the_same(folder, forgotten, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", f"env {shutil.which('c++')}")
    monkeypatch.chdir(tmp_path)
    if folder == "a file":
        forgotten.write_text("a file where the folder would be")
    elif folder == "others may write":
        forgotten.mkdir()
        forgotten.chmod(0o777)
    else:
        monkeypatch.setenv("SYNCHRONY_CACHE", "")
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert form.how() == "compiled"
    assert not forgotten.is_dir() or not list(forgotten.iterdir())
    assert not (tmp_path / "~").exists()


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AROUND = {
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "meta by default": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("state", AROUND)
def test_whatever_is_around_the_first_call(state, monkeypatch):
    inputs = [x[None] for x in operands(2, 70, 70, 9, 5)]
    phi = torch.randn(1, 2, 70, 5)
    expected = operate("native", *inputs, causal=True, key_mask=None, cap=5.0, top_k=None, floor=0.1)
    r = order_parameter(phi, True)
    blocks.RESULTS.clear()
    with AROUND[state]():
        out = operate("auto", *inputs, causal=True, key_mask=None, cap=5.0, top_k=None, floor=0.1)
        assert torch.equal(out, expected)
        if state != "meta by default":  # where plain operations make a tensor of their own too
            assert torch.equal(order_parameter(phi, True), r)
    assert set(blocks.RESULTS.values()) == {"compiled"}


def test_where_operations_are_followed_plain_ones_run():
    from torch._subclasses.fake_tensor import FakeTensorMode

    inputs, settings = [x[None] for x in operands(1, 9, 9, 3, 2)], {"causal": True, "key_mask": None, "floor": 0.1}
    with FlopCounterMode(display=False) as counter:
        operate("auto", *inputs, cap=5.0, top_k=None, **settings)
    assert counter.get_total_flops() > 0
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert operate("auto", *inputs, cap=5.0, top_k=None, **settings).shape == (1, 1, 9, 2)


@pytest.mark.parametrize("name", ["q", "k", "v", "phi"])
def test_any_layout_has_its_gradient(name):
    tensors = dict(zip(("q", "k", "v", "rho", "cos"), (x[None] for x in operands(2, 70, 70, 9, 5)), strict=True))
    tensors["phi"] = torch.randn(1, 2, 70, 5)
    found = []
    for layout in (lambda x: x, lambda x: x.mT.contiguous().mT):
        x = layout(tensors[name].detach()).requires_grad_()
        if name == "phi":
            y = order_parameter(x, True)
        else:
            q, k, v, rho, cos, _ = (tensors | {name: x}).values()
            y = synchronize_tiled(q, k, v, rho, cos, causal=True, floor=0.1)
        found.append((y, torch.autograd.grad(y.square().sum(), x)[0]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("compiler", "said"),
    [("absent", "No such file"), ("broken", "error: no C.. today"), ("c++", "not what it should be")],
)
def test_without_a_compiler_that_works_one_line_says_so_and_chunks_go_on(
    compiler, said, forgotten, monkeypatch, caplog, tmp_path
):
    if compiler == "c++":  # which works, but what it compiles is wrong by one part in a hundred
        sources = shutil.copytree(blocks.SOURCES, tmp_path / "cpp")
        header = (sources / "vectors.h").read_text()
        (sources / "vectors.h").write_text(header.replace("? p * power", "? 1.01f * p * power"))
        monkeypatch.setattr(blocks, "SOURCES", sources)
    else:
        monkeypatch.setenv("CXX", str(tmp_path / compiler))
    if compiler == "broken":
        (tmp_path / compiler).write_text(
            "#!/bin/sh\necho 'In file included from x' >&2\necho 'error: no C++ today' >&2\nexit 1\n"
        )
        (tmp_path / compiler).chmod(0o755)
    inputs = [x[None] for x in operands(2, 70, 70, 9, 5)]
    settings = {"causal": True, "key_mask": None, "cap": 5.0, "top_k": None, "floor": 0.1}
    with caplog.at_level("WARNING"):
        for _ in range(2):
            out = operate("auto", *inputs, **settings)
    expected = operate("chunked", *inputs, **settings)
    assert torch.equal(out, expected)
    assert choose("auto", "cpu", True) == "chunked"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line
    with pytest.raises(ValueError, match=f"cannot run here: .*{said}"):
        choose("native", "cpu", True)
    graph = torch.compile(lambda *x: operate("auto", *x, **settings), backend="eager", fullgraph=True)
    torch.testing.assert_close(graph(*inputs), expected, atol=1e-6, rtol=1e-6)
