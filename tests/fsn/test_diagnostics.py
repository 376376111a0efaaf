"""Diagnostics describe what the fast layer did, and know no more of the future than it does."""

import pytest
import torch

from fsn import FSN, SynchronizationAttention, attention, reference

STARTS = {
    "delay": {},
    "no delay": {"delay": False},
    "learned null score": {"null": "learned"},
    "no null slot": {"null": "none"},
}


@pytest.fixture(params=STARTS)
def layer(request: pytest.FixtureRequest) -> SynchronizationAttention:
    torch.manual_seed(0)
    layer = SynchronizationAttention(6, 2, **STARTS[request.param]).double()
    for parameter in layer.parameters():
        parameter.data = torch.randn_like(parameter)
    return layer


def test_attention_and_order_parameter_against_loops(layer: SynchronizationAttention) -> None:
    theta = 3 * torch.randn(1, 5, 6, dtype=torch.float64)
    dtheta, found = layer(theta, return_diagnostics=True)
    torch.testing.assert_close(dtheta, layer(theta))
    for head in range(2):
        for t, row in enumerate(reference.attention_weights(layer, theta[0], head)):
            n_tokens = t if layer.delay else t + 1
            expected = torch.zeros(5, dtype=torch.float64)
            expected[:n_tokens] = torch.tensor([float(weight.detach()) for weight in row[:n_tokens]])
            torch.testing.assert_close(found["attention"][0, head, t], expected, rtol=0, atol=1e-7)
            null = float(row[-1].detach()) if len(row) > n_tokens else 0.0
            assert float(found["null"][0, head, t]) == pytest.approx(null, abs=1e-7)
            mean_field = (expected[:, None] * torch.exp(1j * theta[0, :, 3 * head : 3 * head + 3])).sum(0)
            assert float(found["order_parameter"][0, head, t]) == pytest.approx(
                float(mean_field.abs().mean()), abs=1e-7
            )
    gates = reference.gates(layer, theta[0]).detach().unflatten(-1, (layer.n_heads, -1)).mean(-1)
    torch.testing.assert_close(found["gate"][0], gates.mT)


def test_diagnostics_of_the_past_do_not_change_with_the_future(layer: SynchronizationAttention) -> None:
    theta = 3 * torch.randn(2, 70, 6, dtype=torch.float64)
    other = theta.clone()
    other[:, 40:] = torch.randn(2, 30, 6, dtype=torch.float64)
    before, after = (layer(x, return_diagnostics=True)[1] for x in (theta, other))
    for name in ("attention", "null", "order_parameter"):
        assert torch.equal(before[name][:, :, :40], after[name][:, :, :40]), name
    assert torch.equal(before["gate"][:, :, :40], after["gate"][:, :, :40])
    assert not before["attention"].triu(1).any()


def test_a_model_gives_the_diagnostics_of_each_layer() -> None:
    model = FSN(n_phases=8, n_layers=3, n_heads=2, ff_width=8, local_layers=0, copying_layers=0)
    tokens = torch.randint(0, 256, (2, 9))
    logits, diagnostics = model(tokens, return_diagnostics=True)
    assert torch.equal(logits, model(tokens))
    assert [found["attention"].shape for found in diagnostics] == [(2, 2, 9, 9)] * 3
    theta = model.embedding(tokens)
    for layer, found in zip(model.layers, diagnostics, strict=True):
        _, expected = layer.mixer(theta, return_diagnostics=True)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        theta = layer(theta)


def test_one_attention_call_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = attention.softmax_attention

    def counted(*arguments, **options):
        calls.append(arguments[2].shape[-1] / arguments[0].shape[-1])
        return original(*arguments, **options)

    monkeypatch.setattr(attention, "softmax_attention", counted)
    FSN(n_phases=8, n_layers=4, n_heads=2, ff_width=8, harmonics=3)(torch.randint(0, 256, (1, 9)))
    assert calls == [3, 3, 3], "values hold M harmonics, both delays combined"
