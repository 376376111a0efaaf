"""The baseline's attention against its equations, and the shape of its start."""

import itertools
import math

import pytest
import torch

from baseline import CrossAttention, SelfAttention, Transformer


def loops(layer: SelfAttention, x: torch.Tensor, real: list[bool]) -> torch.Tensor:
    """What tokens (N, D) get, one score after another; the real ones alone are attended."""
    n, delayed = len(x), layer.delayed_heads
    q, k, v = (part.view(n, 2, 4) for part in layer.qkv(x).chunk(3, dim=-1))
    rows = []
    for t in range(n):
        for head in range(2):
            scores, values = [], []
            for u in range(t + 1 if layer.causal else n):
                if not real[u]:
                    continue
                key = k[u, head] if head >= delayed else k[u - 1, head] if u else torch.zeros_like(k[u, head])
                score = 0.0
                for pair, drift in enumerate((1.0, 100.0 ** (-1 / 2))):
                    a = torch.complex(q[t, head, pair], q[t, head, pair + 2])
                    b = torch.complex(key[pair], key[pair + 2])
                    # RoPE: the real part of a conj(b) turned by the drift over the distance.
                    turn = torch.exp(1j * torch.tensor(drift * (t - u), dtype=torch.float64))
                    score = score + (a * b.conj() * turn).real
                score = score / math.sqrt(4)
                for f in range(8 if head < layer.lag_heads else 0):
                    angle = 100.0 ** (-f / 8) * (t - u) + layer.lag_phase[head, f]
                    score = score + layer.lag_strength[head, f] * torch.cos(angle)
                scores.append(score)
                values.append(v[u, head])
            weights = torch.stack(scores).softmax(0)
            rows.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
    return layer.out(torch.stack(rows).view(n, 8))


def same_with_gradients(fast: torch.Tensor, slow: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    weight = torch.linspace(-1, 2, fast.numel(), dtype=torch.float64).view_as(fast)
    for ours, theirs in zip(
        torch.autograd.grad((fast * weight).sum(), inputs),
        torch.autograd.grad((slow * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lags", [0, 1, 2])
@pytest.mark.parametrize("delayed", [0, 1, 2])
def test_attention_against_loops_over_tokens_and_heads(delayed: int, lags: int, causal: bool) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, rope_base=100.0, delayed_heads=delayed, lag_heads=lags, causal=causal).double()
    if lags:
        torch.nn.init.normal_(layer.lag_strength)
    x = torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)
    same_with_gradients(layer(x)[0], loops(layer, x[0], [True] * 5), [x, *layer.parameters()])


def test_padding_is_not_attended() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, rope_base=100.0, causal=False).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 3 + [False] * 2, [False, True, True, False, True]])
    slow = torch.stack([loops(layer, one, real) for one, real in zip(x, mask.tolist(), strict=True)])
    same_with_gradients(layer(x, padding_mask=mask)[mask], slow[mask], [x, *layer.parameters()])
    with pytest.raises(ValueError, match="padding_mask is for causal=False"):
        SelfAttention(8, 2)(x.float(), padding_mask=mask)
    with pytest.raises(ValueError, match="cannot decode token by token"):
        layer.step(x[:, 0], layer.init_cache(2))


def test_cross_attention_against_loops_over_tokens_and_heads() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(8, 2).double()
    x, memory = (torch.randn(2, n, 8, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    mask = torch.tensor([[True] * 3 + [False] * 2, [False, True, True, False, True]])
    rows = []
    for b, t, head in itertools.product(range(2), range(3), range(2)):
        cut = slice(4 * head, 4 * head + 4)
        tokens = [u for u in range(5) if mask[b, u]]
        q = layer.query(x[b, t])[cut]
        k, v = ([half[cut] for half in part] for part in layer.key_value(memory[b, tokens]).split(8, dim=-1))
        weights = torch.stack([q @ key / math.sqrt(4) for key in k]).softmax(0)
        rows.append(sum(weight * value for weight, value in zip(weights, v, strict=True)))
    slow = layer.out(torch.stack(rows).view(2, 3, 8))
    same_with_gradients(layer(x, memory=memory, padding_mask=mask), slow, [x, memory, *layer.parameters()])
    cache = layer.init_cache(2, memory, mask)
    for t in range(3):
        torch.testing.assert_close(layer.step(x[:, t], cache), slow[:, t], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "heads"), [(10, 4), (12, 4)])
def test_heads_must_divide_the_width_evenly(width: int, heads: int) -> None:
    with pytest.raises(ValueError, match=f"width {width} does not split into n_heads={heads}"):
        SelfAttention(width, heads)


def test_lag_heads_start_at_their_token() -> None:
    """With contents that are all alike, head h attends most to the token h back."""
    torch.manual_seed(0)
    layer = SelfAttention(32, 4, lag_heads=3)
    attention = layer.diagnostics(torch.ones(1, 12, 32))["attention"]
    assert [int(attention[0, h, -1].argmax()) for h in range(3)] == [11, 10, 9]
    assert float(attention[0, :3, -1].max(-1).values.min()) > 0.8
    assert float(attention[0, 3, -1].max()) < 0.5


def test_helps_are_those_of_the_first_layers() -> None:
    model = Transformer(7, 8, n_layers=3, n_heads=2, ff_width=4, delayed_heads=1, lag_heads=2, helped_layers=1)
    assert [(layer.mixer.delayed_heads, layer.mixer.lag_heads) for layer in model.layers] == [(1, 2), (0, 0), (0, 0)]
    with pytest.raises(ValueError, match="helped_layers=4 is more than n_layers=3"):
        Transformer(7, 8, n_layers=3, n_heads=2, ff_width=4, delayed_heads=1, helped_layers=4)


def test_no_more_heads_are_delayed_than_there_are() -> None:
    with pytest.raises(ValueError, match="delayed_heads=3 is not between 0 and n_heads=2"):
        SelfAttention(8, 2, delayed_heads=3)


def test_residual_projections_start_smaller() -> None:
    torch.manual_seed(0)
    model = Transformer(256, 64, n_layers=8, n_heads=2, ff_width=64)
    layer = model.layers[0]
    assert float(layer.mixer.qkv.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.05)
    assert float(layer.mixer.out.weight.detach().std()) == pytest.approx(64**-0.5 / 4, rel=0.05)
    assert float(layer.feed_forward.down.weight.detach().std()) == pytest.approx(64**-0.5 / 4, rel=0.05)
