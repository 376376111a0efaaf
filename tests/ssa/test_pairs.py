"""The compiled maps of pairs: as the eager ones, for any shape, compiled once; and without a compiler."""

import torch

from ssa import pairs
from ssa.chunked import synchronize


def operands(G, N, M, same, seed=0):
    g = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(G, N, 9, generator=g), torch.randn(G, M, 9, generator=g), torch.randn(G, M, 5, generator=g)
    inverse_rho, cos_theta = 0.1 + torch.rand(G, N, generator=g), 0.1 + 0.4 * torch.rand(G, generator=g)
    k = None if same else (0.2 * k).requires_grad_()
    return [(0.2 * q).requires_grad_(), k, *(x.requires_grad_() for x in (v, inverse_rho, cos_theta))]


def values_and_gradients(inputs, **settings):
    out = synchronize(*inputs, **settings)
    return out, *torch.autograd.grad(out.square().sum(), [x for x in inputs if x is not None])


def test_compiled_equals_eager_for_any_shape_and_is_compiled_once(compiled_always, monkeypatch):
    cases = []
    for G, N, M in ((1, 2, 2), (3, 65, 65), (8, 70, 70), (64, 64, 64), (2, 130, 40)):
        for cap in (None, 5.0):
            mask = torch.rand(G, M, generator=torch.Generator().manual_seed(1)) > 0.3
            cases += [(G, N, M, False, {"causal": N == M, "cap": cap})]
            cases += [(G, N, M, N == M, {"causal": N == M, "cap": cap, "floor": 0.1})]
            cases += [(G, N, M, N == M, {"causal": False, "cap": cap, "key_mask": mask})]
    pairs.how("cpu")
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    ours = [values_and_gradients(operands(*shape), **settings) for *shape, settings in cases]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before, "a shape or setting was compiled anew"
    monkeypatch.setattr(pairs, "FEWEST", 2**62)
    for (*shape, settings), found in zip(cases, ours, strict=True):
        for a, b in zip(found, values_and_gradients(operands(*shape), **settings), strict=True):
            scale = max(10, float(b.detach().abs().max()))  # where Z is nearly 0 gradients are large, and cancel
            assert (a - b).abs().max() <= 2e-5 * scale, (shape, settings, (a - b).abs().max())


def test_another_number_of_threads_compiles_once_more_and_no_shape_after_that(compiled_always):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        pairs.how("cpu")
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        for n in (65, 70):
            values_and_gradients(operands(2, n, n, False), causal=True)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
    finally:
        torch.set_num_threads(threads)


def test_without_a_compiler_one_line_says_so_and_everything_works(monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler found\nand a long trace")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(pairs.log, "disabled", False)  # an entry point that ran before may have silenced it
    monkeypatch.setattr(pairs, "FEWEST", 1)
    pairs._compiled.cache_clear()
    try:
        with caplog.at_level("WARNING"):
            for _ in range(2):
                assert torch.isfinite(values_and_gradients(operands(2, 9, 9, False), causal=True)[0]).all()
        assert pairs.how("cpu") == "eager: no C++ compiler found"
        assert [record.getMessage().count("\n") for record in caplog.records] == [0]
        assert "no C++ compiler found" in caplog.text
    finally:
        pairs._compiled.cache_clear()


def test_a_compiler_that_computes_something_else_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *x: torch.utils._pytree.tree_map(
        lambda tensor: tensor + 0.01, function(*x)
    ))  # fmt: skip
    pairs._compiled.cache_clear()
    try:
        assert pairs.how("cpu").startswith("eager: ")
    finally:
        pairs._compiled.cache_clear()


def test_small_calls_and_float64_stay_eager():
    assert pairs.maps(torch.zeros(1), pairs.FEWEST - 1) is pairs.EAGER
    assert pairs.maps(torch.zeros(1, dtype=torch.double), 2**40) is pairs.EAGER
