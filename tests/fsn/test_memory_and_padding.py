"""Mixers that know a whole sequence, their own or an encoder's, and padding: against loops."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from fsn import (
    FSN,
    CollectiveModes,
    SynchronizationAttention,
    attention,
    copying,
    coupling_function,
    padding,
    reference,
)
from fsn.copying import CopyingHead
from fsn.coupling import coupled_to
from fsn.layer import LayerForm
from fsn.local_coupling import LocalCoupling, _SumOverDistances, sum_over_windows
from fsn.phases import features
from fsn.softmax_attention import library_attention, softmax_attention

ATTENTION = partial(SynchronizationAttention, 4, 2)
MIXERS: dict[str, partial[torch.nn.Module]] = {
    "attention": ATTENTION,
    "kuramoto": partial(ATTENTION, harmonics=1, delay=False, frustration=False),
    "no predecessor, learned null score": partial(ATTENTION, null="learned", predecessor=False),
    "no null slot, constant gate": partial(ATTENTION, null="none", gate="constant", harmonics=1),
    "one quadrature, three harmonics": partial(ATTENTION, quadratures=1, harmonics=3),
    "copying": partial(CopyingHead, 4),
    "copying, all phases": partial(CopyingHead, 4, harmonics=2, share=1.0),
    "local": partial(LocalCoupling, 4, reach=2),
    "local, far": partial(LocalCoupling, 4, reach=9, harmonics=1),
}
OF_A_MEMORY = [name for name in MIXERS if not name.startswith("local")]
MASKS = {
    "none": None,
    "behind, and nothing but": [[True] * 4 + [False] * 2, [False] * 6],
    "before and amid": [[False, True, True, False, True, True], [True, False, False, True, True, False]],
}


def mixer(name: str, causal: bool) -> torch.nn.Module:
    """In float64, its parameters away from their start, so that every term counts."""
    no_predecessor = {"predecessor": None} if causal and MIXERS[name].func is SynchronizationAttention else {}
    layer = MIXERS[name](causal=causal, **no_predecessor).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


def phases(*shape: int) -> Tensor:
    return (
        3 * torch.randn(*shape, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ).requires_grad_()


def gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weight = torch.linspace(-1, 2, output.numel(), dtype=torch.float64).view_as(output)
    found = torch.autograd.grad((output * weight).sum(), inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def loops(
    layer: torch.nn.Module, theta: Tensor, memory: Tensor | None, mask: list[list[bool]] | None, **more
) -> Tensor:
    rows = []
    for b, sequence in enumerate(theta):
        real = None if mask is None else mask[b]
        if isinstance(layer, LocalCoupling):
            rows.append(reference.local_coupling(layer, sequence, real))
            continue
        source = None if memory is None else memory[b]
        form = reference.copying_head if isinstance(layer, CopyingHead) else reference.synchronization_attention
        rows.append(form(layer, sequence, source, real, **more))
    return torch.stack(rows)


def same(fast: Tensor, slow: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    for ours, theirs in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def as_mask(mask: list[list[bool]] | None) -> Tensor | None:
    return None if mask is None else torch.tensor(mask)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", MIXERS)
def test_of_its_own_sequence(name: str, causal: bool, mask: str) -> None:
    layer, theta = mixer(name, causal), phases(2, 6)
    fast = layer(theta, padding_mask=as_mask(MASKS[mask]))
    same(fast, loops(layer, theta, None, MASKS[mask]), [theta, *layer.parameters()])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", OF_A_MEMORY)
@pytest.mark.parametrize("causal", [True, False])
def test_of_a_memory(name: str, causal: bool, mask: str) -> None:
    """The layer that decodes need not know of it; one that is not causal has a kernel for the predecessor."""
    layer, theta, memory = mixer(name, causal), phases(2, 3), phases(3, 6)[1:]
    fast = layer(theta, memory=memory, padding_mask=as_mask(MASKS[mask]))
    same(fast, loops(layer, theta, memory, MASKS[mask]), [theta, memory, *layer.parameters()])


@pytest.mark.parametrize("mask", [mask for mask in MASKS if mask != "none"])
@pytest.mark.parametrize("name", OF_A_MEMORY)
@pytest.mark.parametrize("form", ["causal", "bidirectional", "memory"])
def test_by_the_mask_alone_as_on_other_devices(
    name: str, form: str, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, theta = mixer(name, causal=form == "causal"), phases(2, 6)
    memory = phases(3, 6)[1:] if form == "memory" else None
    couple = partial(layer, theta, memory=memory, padding_mask=as_mask(MASKS[mask]))
    here = couple()
    monkeypatch.setattr(padding, "BY_LENGTH", ())
    for module in (attention, copying):
        monkeypatch.setattr(module, "softmax_attention", library_attention)
    same(couple(), here, [theta, *layer.parameters()])


@pytest.mark.parametrize("flags", [{}, {"barred": 1}, {"causal": True}])
@pytest.mark.parametrize("length", [1, 64, 65, 150])
def test_every_chunk_of_a_long_sequence(length: int, flags: dict) -> None:
    """Lengths around the chunk of queries: both forms against one softmax over the masked matrix."""
    flags = {"causal": False, **flags}
    slots = length if flags["causal"] else length + 3
    q, k, v = (torch.randn(2, 3, n, w, dtype=torch.double) for n, w in ((length, 4), (slots, 4), (slots, 12)))
    mask = torch.rand(2, slots) < 0.7
    mask[:, 0] = True
    v = v * mask[:, None, :, None]
    never = ~mask[:, None, None, :].expand(-1, 1, length, -1).clone()
    if flags["causal"]:
        never |= torch.ones(length, slots, dtype=torch.bool).triu(1)
    if "barred" in flags:
        never |= torch.ones(length, slots, dtype=torch.bool).triu(1).tril(1)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    for form in (softmax_attention, library_attention):
        slow = (q @ k.mT * 0.3).masked_fill(never, -torch.inf).softmax(-1) @ v
        same(form(q, k, v, 0.3, key_mask=mask, **flags), slow, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["causal", "bidirectional", "memory"])
@pytest.mark.parametrize("kind", [SynchronizationAttention, CopyingHead, LocalCoupling])
def test_more_padding_changes_not_a_bit_on_a_cpu(kind: type, form: str, dtype: torch.dtype) -> None:
    """Sequences of 70 and 50 tokens, then both with 75 slots more of padding, whatever is there."""
    if form == "memory" and kind is LocalCoupling:
        pytest.skip("local coupling knows no memory")
    torch.manual_seed(0)
    arguments = {SynchronizationAttention: (16, 2), CopyingHead: (16,), LocalCoupling: (16, 3)}[kind]
    layer = kind(*arguments, causal=form == "causal").to(dtype)
    real = torch.arange(70) < torch.tensor([[70], [50]])
    source, theta = 3 * torch.randn(2, 70, 16, dtype=dtype), torch.randn(2, 9, 16, dtype=dtype)
    found = []
    for more in (0, 75):
        longer = torch.cat((source, torch.full((2, more, 16), torch.nan, dtype=dtype)), dim=1)
        longer[1, 50:] = torch.nan
        longer.requires_grad_()
        mask = torch.nn.functional.pad(real, (0, more))
        x = {"memory": longer} if form == "memory" else {}
        out = layer(theta if x else longer, **x, padding_mask=mask)
        (grad,) = torch.autograd.grad(out.sin().sum(), longer)
        assert not grad[~mask].any() and out.isfinite().all()
        if not x:
            assert not out[~mask].any(), "padded tokens get zeros"
        found.append((out[:, : len(theta[0]) if x else 70], grad[:, :70]))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    unpadded = layer(theta[:1], memory=source[:1]) if form == "memory" else layer(source[:1])
    assert torch.equal(found[1][0][:1], unpadded)
    alone = {"memory": source[1:, :50]} if form == "memory" else {}
    expected = layer(theta[1:] if alone else source[1:, :50], **alone)
    near = 1e-5 if dtype == torch.float32 else 1e-12  # that of a batch with others, to rounding
    torch.testing.assert_close(found[0][0][1:, : expected.shape[1]], expected, rtol=0, atol=near)


@pytest.mark.parametrize("name", MIXERS)
def test_a_causal_layer_with_padding_knows_nothing_of_the_future(name: str) -> None:
    layer = mixer(name, causal=True)
    real = torch.arange(140) < torch.tensor([[140], [100]])
    real[1, 3] = False
    theta = torch.randn(2, 140, 4, dtype=torch.double)
    before = layer(theta, padding_mask=real)
    for cut in (1, 64, 65, 99):
        other = theta.clone()
        other[:, cut:] = torch.randn(2, 140 - cut, 4, dtype=torch.double)
        after = layer(other, padding_mask=real)
        assert torch.equal(after[:, :cut], before[:, :cut])
        assert not torch.equal(after[:, cut:], before[:, cut:])


@torch.no_grad()
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", OF_A_MEMORY)
def test_decoding_beside_a_memory_equals_the_full_pass(name: str, causal: bool, mask: str) -> None:
    layer, theta, memory = mixer(name, causal), phases(2, 5), phases(3, 6)[1:]
    real = as_mask(MASKS[mask])
    whole = layer(theta, memory=memory, padding_mask=real)
    cache = layer.init_cache(2, memory=memory, padding_mask=real)
    for t in range(5):
        step = layer.step(features(theta[:, t]), cache)
        torch.testing.assert_close(step, whole[:, t], rtol=0, atol=1e-12)


def test_a_part_of_a_sequence_beside_a_memory_says_where_it_stands() -> None:
    layer, theta, memory = mixer("attention", True), phases(2, 5), phases(3, 6)[1:]
    whole, found = layer(theta, memory=memory, return_diagnostics=True)
    part, own = layer(theta[:, 3:], memory=memory, offset=3, return_diagnostics=True)
    torch.testing.assert_close(part, whole[:, 3:], rtol=0, atol=1e-12)
    torch.testing.assert_close(own["attention"], found["attention"][:, :, 3:])
    assert not torch.allclose(layer(theta[:, 3:], memory=memory), part, atol=1e-3)
    with pytest.raises(ValueError, match="offset=3 is for cross-attention"):
        layer(theta, offset=3)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", ["causal", "bidirectional", "memory"])
@pytest.mark.parametrize("name", OF_A_MEMORY)
def test_diagnostics_against_loops(name: str, form: str, mask: str) -> None:
    layer, theta = mixer(name, causal=form == "causal"), phases(2, 6).detach()
    memory = phases(3, 6)[1:].detach() if form == "memory" else None
    real, states = as_mask(MASKS[mask]), [features(x) for x in (theta, memory) if x is not None]
    found = layer.diagnostics(*states, padding_mask=real)
    n_heads = 1 if isinstance(layer, CopyingHead) else 2
    for b, sequence in enumerate(theta):
        row_real = [True] * 6 if real is None else real[b].tolist()
        source = None if memory is None else memory[b]
        for head in range(n_heads):
            if isinstance(layer, CopyingHead):
                rows, coupled = (
                    reference.copying_weights(layer, sequence, source, row_real),
                    slice(-layer.n_coupled, None),
                )
            else:
                rows = reference.attention_weights(layer, sequence, head, source, row_real)
                coupled = slice(2 * head, 2 * head + 2)
            for t, row in enumerate(rows):
                tokens = reference.partners(layer, t, 6, memory is None, row_real)
                expected = torch.zeros(6, dtype=torch.double)
                for u, weight in zip(tokens, row, strict=False):
                    expected[u] = weight.detach()
                torch.testing.assert_close(found["attention"][b, head, t], expected)
                padded = memory is None and not row_real[t]
                null = row[-1].detach() if len(row) > len(tokens) and not padded else torch.zeros(())
                assert float(found["null"][b, head, t]) == pytest.approx(float(null))
                phase = (sequence if source is None else source)[:, coupled]
                mean_field = (expected[:, None] * torch.exp(1j * phase)).sum(0).abs().mean()
                torch.testing.assert_close(found["order_parameter"][b, head, t], mean_field)


def test_neighbours_have_their_coupling_functions() -> None:
    """One token attended, the middle one of three: it, its successor and its predecessor, each with its kernel."""
    layer = SynchronizationAttention(3, 1, harmonics=2, causal=False, null="none").double()
    for parameter in layer.parameters():
        parameter.data = torch.randn_like(parameter)
    theta, memory = torch.randn(1, 1, 3, dtype=torch.double), torch.randn(1, 3, 3, dtype=torch.double)
    assert coupled_to(layer) == ["attended token", "its successor", "its predecessor"]
    assert coupled_to(SynchronizationAttention(3, 1)) == ["attended token", "its successor"]
    assert coupled_to(LocalCoupling(3, 2, causal=False)) == ["1 back", "2 back", "1 ahead", "2 ahead"]
    weights = layer(theta, memory=memory, return_diagnostics=True)[1]["attention"][0, 0, 0]
    expected = torch.zeros(3, dtype=torch.double)
    for u in range(3):
        for p, delta in enumerate((0, 1, -1)):
            if 0 <= u + delta < 3:
                for c in range(3):
                    gamma = coupling_function(layer, memory[0, u + delta, c] - theta[0, 0, c].view(1))
                    expected[c] += weights[u] * gamma[p, c, 0]
    torch.testing.assert_close(layer(theta, memory=memory)[0, 0].detach(), expected)


def test_local_coupling_ahead_on_cuda_is_that_on_a_cpu() -> None:
    """The operations that CUDA takes, computed here on the reversed sequence that looking ahead gives them."""
    tokens, kernel = torch.randn(2, 2, 5, 6, dtype=torch.double).flip(2), torch.randn(2, 8, 6, dtype=torch.double)
    for here, there in zip(_SumOverDistances.apply(*tokens, *kernel), sum_over_windows(*tokens, *kernel), strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=1e-12)


def test_both_sides_of_a_token_are_read() -> None:
    for name in MIXERS:
        layer, theta = mixer(name, causal=False), phases(1, 6).detach()
        for changed in (0, 1, 4, 5):
            other = theta.clone()
            other[:, changed] += 0.1
            out_of_reach = isinstance(layer, LocalCoupling) and layer.reach < abs(changed - 3)
            assert torch.equal(layer(other)[0, 3], layer(theta)[0, 3]) == out_of_reach, name


def test_impossible_forms_are_refused() -> None:
    for wrong, line in (
        ({"predecessor": True}, "predecessor=True needs a delay and causal=False"),
        ({"predecessor": True, "causal": False, "delay": False}, "predecessor=True needs a delay"),
        ({"n_heads": 0}, "n_heads=0 is less than 1"),
        ({"n_phases": 0}, "n_phases=0 is less than 1"),
    ):
        with pytest.raises(ValueError, match=f"^{line}"):
            SynchronizationAttention(**{"n_phases": 4, "n_heads": 1, **wrong})
    with pytest.raises(TypeError, match=r"^causal=1 is neither True nor False$"):
        LocalCoupling(4, 2, causal=1)
    with pytest.raises(TypeError, match=r"^harmonics=1.5 is not a whole number$"):
        CopyingHead(4, harmonics=1.5)


@pytest.mark.parametrize("name", MIXERS)
def test_what_does_not_fit_is_named(name: str) -> None:
    layer, theta = mixer(name, causal=True), torch.zeros(2, 6, 4, dtype=torch.double)
    with pytest.raises(TypeError, match=r"^theta is a list, not a tensor$"):
        layer(theta.tolist())
    with pytest.raises(ValueError, match=r"^theta is torch.int64, not of floating-point numbers$"):
        layer(theta.long())
    for wrong in (theta[..., :3], theta[0], theta[:, :0]):
        with pytest.raises(ValueError, match=r"^theta has"):
            layer(wrong)
    with pytest.raises(ValueError, match=r"^padding_mask has shape \(2, 5\), not \(2, 6\)$"):
        layer(theta, padding_mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^padding_mask is torch.float32, not torch.bool"):
        layer(theta, padding_mask=torch.ones(2, 6))
    state = features(theta[:, 0])
    with pytest.raises(ValueError, match="cannot decode token by token"):
        bidirectional = mixer(name, causal=False)
        bidirectional.step(state, bidirectional.init_cache(2))
    if name not in OF_A_MEMORY:
        return
    with pytest.raises(TypeError, match=r"^memory is a tuple, not a tensor$"):
        layer(theta, memory=(theta,))
    with pytest.raises(ValueError, match=r"^memory has a batch of 1 and theta one of 2$"):
        layer(theta, memory=theta[:1])
    with pytest.raises(ValueError, match=r"^memory has a batch of 2 and the cache one of 3$"):
        layer.init_cache(3, memory=theta)
    with pytest.raises(ValueError, match=r"^padding_mask is of a memory here"):
        layer.init_cache(2, padding_mask=torch.ones(2, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"^the token has a batch of 2 and the cache one of 1$"):
        layer.step(state, layer.init_cache(1, memory=theta[:1]))
    with pytest.raises(ValueError, match=r"^this cache is of a memory, which is all there: take step"):
        layer.prefill(theta, layer.init_cache(2, memory=theta))


def test_a_layer_takes_the_phases_of_a_memory_as_they_are() -> None:
    """Or their features, which a network computes once."""
    torch.manual_seed(0)
    (layer,) = LayerForm(local_layers=0).layers(4, 1, 2, 4, cross=True)
    theta, memory, mask = torch.randn(2, 3, 4), torch.randn(2, 6, 4), torch.arange(6) < torch.tensor([[6], [2]])
    y = layer(theta, memory=memory, padding_mask=mask)
    assert torch.equal(y, layer(theta, memory=features(memory), padding_mask=mask))
    assert torch.equal(y[1:], layer(theta[1:], memory=memory[1:, :2]))
    for wrong, line in (
        ({"theta": theta.long()}, "theta is torch.int64, not of floating-point numbers"),
        ({"memory": memory.long()}, "memory is torch.int64, not of floating-point numbers"),
        ({"memory": memory[:1]}, "memory has a batch of 1 and theta one of 2"),
        ({"padding_mask": mask[:, :3]}, r"padding_mask has shape \(2, 3\), not \(2, 6\)"),
    ):
        with pytest.raises(ValueError, match=f"^{line}"):
            layer(**{"theta": theta, "memory": memory, "padding_mask": mask, **wrong})
    (alone,) = LayerForm().layers(4, 1, 2, 4)
    with pytest.raises(ValueError, match=r"^memory is for a layer with a cross"):
        alone(theta, memory=memory)


@pytest.mark.parametrize("name", MIXERS)
def test_a_step_takes_phases(name: str) -> None:
    layer, theta = mixer(name, causal=True), phases(2, 5).detach()
    cache = layer.init_cache(2)
    steps = torch.stack([layer.step(theta[:, t], cache) for t in range(5)], dim=1)
    torch.testing.assert_close(steps, layer(theta), rtol=0, atol=1e-10)


def test_impossible_numbers_are_named() -> None:
    for make, line in (
        (lambda: SynchronizationAttention(4, 1, coupling=math.nan), "coupling=nan is not finite"),
        (lambda: SynchronizationAttention(4, 1, rope_base=0), "rope_base=0 is not positive and finite"),
        (lambda: CopyingHead(4, gate=math.inf), "gate=inf is not finite"),
        (lambda: LocalCoupling(4, 2, coupling=math.nan), "coupling=nan is not finite"),
        (lambda: CollectiveModes(4, 0), "n_modes=0 is less than 1"),
        (lambda: CollectiveModes(4, 2)(torch.zeros(3, 4, dtype=torch.int64)), "theta is torch.int64, not of floating"),
        (lambda: CollectiveModes(4, 2, weighted=False, quadratures=3), "quadratures=3 is neither 1 nor 2"),
        (lambda: FSN(8, 4, feed_forward="mlp"), "feed_forward='mlp' is not one of 'swiglu', 'mean_field', 'native'"),
        (lambda: CollectiveModes(4, 2)(torch.zeros(3, 5)), r"theta has shape \(3, 5\), not \(\.\.\., 4\)"),
        (lambda: FSN(8, 4, grading=-1), "grading=-1 is not a number from 0 on"),
    ):
        with pytest.raises(ValueError, match=f"^{line}"):
            make()
    with pytest.raises(TypeError, match=r"^frustration=1 is neither True nor False$"):
        SynchronizationAttention(4, 1, frustration=1)
