"""The layer against loops from its weights, in all three forms; where it starts; what it refuses."""

import math

import numpy as np
import pytest
import torch

from ssa import OSN, OSNBlock, Positions, SelectiveSynchronizationAttention, Start, reference

D, H, N = 12, 2, 9


def shaken(**options):
    """A layer in float64, away from its start: heads differ in alpha, K and theta."""
    torch.manual_seed(1)
    layer = SelectiveSynchronizationAttention(D, H, **options).double()
    for parameter in layer.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return layer


def loops(layer, x, source, causal, real=None):
    """out (N, D) of one sequence, head by head."""
    d, heads = D // H, []
    for h in range(H):
        rows = slice(h * d, (h + 1) * d)
        own = layer.omega.weight if layer.query_omega is None else layer.query_omega.weight

        def omega(tokens, weight, h=h, rows=rows, back=0.0, is_key=False):
            positions = []
            for t in range(len(tokens)):
                source = t - 1 if is_key and h < layer.delayed_heads else t
                content = tokens[source] @ weight[rows].T if source >= 0 else torch.zeros(d, dtype=x.dtype)
                if layer.rotary is not None:
                    place = reference.positional_frequency(t - back, layer.amplitude[h], layer.rotary.drift)
                    content = torch.cat((content, place))
                positions.append(content)
            return torch.stack(positions)

        back = 0.0 if layer.lag is None else float(layer.lag[h])
        q, k = omega(x, own, back=back), omega(source, layer.omega.weight, is_key=True)
        phi, v = source @ layer.phi.weight[rows].T, source @ layer.value.weight[rows].T
        settings = (layer.alpha[h], layer.K[h], layer.theta[h])
        out = []
        for i in range(len(x)):
            seen = [j for j in range(len(source)) if (real is None or real[j]) and (j <= i or not causal)]
            r = reference.order_parameter(phi, seen)
            S = [reference.strength(q[i], k[j], *settings[:2], r, settings[2]) for j in seen]
            total = sum(S) + (0 if layer.shared and torch.equal(x, source) else layer.floor)
            mixed = torch.zeros(d, dtype=x.dtype)
            if total > 0:
                mixed = sum((s / total * v[j] for s, j in zip(S, seen, strict=True)), mixed)
            out.append(mixed)
        heads.append(torch.stack(out))
    return torch.cat(heads, dim=-1) @ layer.out.weight.T


@pytest.mark.parametrize(
    "options",
    [{}, {"positions": None}, {"query_frequency": "separate"}, {"positions": Positions(lag=1.0)}, {"delayed_heads": 1}],
    ids=str,
)
@pytest.mark.parametrize("causal", [True, False])
def test_the_layer_equals_the_loops(options, causal):
    layer = shaken(causal=causal, **options)
    x = torch.randn(2, N, D, dtype=torch.double)
    y, diagnostics = layer(x, return_diagnostics=True)
    assert (diagnostics["locked_fraction"] > 0.05).all() and (diagnostics["locked_fraction"] < 0.95).all()
    for b in range(2):
        assert torch.allclose(y[b], loops(layer, x[b], x[b], causal), atol=1e-10, rtol=0)


def test_padding_of_a_bidirectional_layer():
    layer, x = shaken(causal=False), torch.randn(2, N, D, dtype=torch.double)
    real = torch.tensor([[True] * 6 + [False] * 3, [False] * N])
    y = layer(x, padding_mask=real)
    expected = loops(layer, x[0], x[0], False, real[0].tolist()) * real[0][:, None]
    assert torch.allclose(y[0], expected, atol=1e-10, rtol=0)
    assert torch.equal(y[1], torch.zeros_like(y[1])), "a row without a token gives zeros, never nan"
    x.requires_grad_()
    layer(x, padding_mask=real).square().sum().backward()
    assert torch.isfinite(x.grad).all()


def test_cross_attention():
    layer = shaken(causal=True)
    x, memory = torch.randn(2, N, D, dtype=torch.double), torch.randn(2, 5, D, dtype=torch.double)
    real = torch.tensor([[True, True, False, True, True], [True] * 5])
    y = layer(x, memory=memory, padding_mask=real)
    for b in range(2):
        expected = loops(layer, x[b], memory[b], False, real[b].tolist())
        assert torch.allclose(y[b], expected, atol=1e-10, rtol=0)


def test_positions_enter_through_their_distance_alone():
    """The strength of equal tokens depends on i - j; without a positional part on nothing."""
    token = torch.randn(1, 1, D, dtype=torch.double)
    x = token.expand(1, N, D)
    S, _, _ = shaken(causal=False).strengths(x)
    for shift in range(1, N):
        diagonal = S.diagonal(shift, 2, 3)
        assert torch.allclose(diagonal, diagonal[..., :1].expand_as(diagonal), atol=1e-12)
    assert (S[0, :, 0, 0] - S[0, :, 0, 1]).min() > 1e-3
    flat, _, _ = shaken(causal=False, positions=None).strengths(x)
    assert torch.allclose(flat, flat[..., :1, :1].expand_as(flat), atol=1e-12)


@pytest.mark.parametrize(
    ("vocabulary", "width", "layers", "heads"),
    [(256, 80, 3, 4), (256, 128, 4, 1), (16, 64, 6, 2), (5000, 192, 3, 8), (50, 256, 2, 4)],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"query_frequency": "separate", "theta": 0.8}, {"position": False}, {"lag": 0, "delayed_heads": 0}],
    ids=str,
)
def test_a_third_of_random_pairs_lock_at_the_start_in_every_head(vocabulary, width, layers, heads, options):
    torch.manual_seed(0)
    model = OSN(vocabulary, width, layers, heads, width, feed_forward="swiglu", **options)
    tokens = torch.randint(0, vocabulary, (16, 256))
    _, diagnostics = model(tokens, return_diagnostics=True)
    for layer in diagnostics:
        assert (layer["locked_fraction"] - 0.3).abs().max() <= 0.1, layer["locked_fraction"]


@pytest.mark.parametrize("length", [32, 1024])
def test_the_start_holds_for_the_length_it_is_asked_for(length):
    """Positions drift apart, so a start for one length is none for another."""
    torch.manual_seed(0)
    model = OSN(256, 64, 2, 4, 64, calibration_length=length)
    for layer in model(torch.randint(0, 256, (4096 // length, length)), return_diagnostics=True)[1]:
        assert (layer["locked_fraction"] - 0.3).abs().max() <= 0.1, layer["locked_fraction"]
    layer = SelectiveSynchronizationAttention(64, 4, start=Start(calibration_length=length))
    found = layer(torch.randn(1, length, 64), return_diagnostics=True)[1]
    assert (found["locked_fraction"] - 0.3).abs().max() <= 0.1, found["locked_fraction"]


def test_a_coupling_that_is_asked_for_is_taken():
    for calibrated in (True, False):
        start = Start(alpha=0.5, K=3.0, calibrated=calibrated)
        layer = SelectiveSynchronizationAttention(D, H, start=start)
        assert torch.allclose(layer.alpha, torch.tensor(0.5)) and torch.allclose(layer.K, torch.tensor(3.0))
    model = OSN(16, D, 1, H, 8, K=2.0)
    assert torch.allclose(model.layers[0].mixer.K, torch.tensor(2.0))


def test_cross_attention_token_by_token():
    """One that has positions must be told the position of its query."""
    layer = shaken()
    x, memory = torch.randn(2, N, D, dtype=torch.double), torch.randn(2, 5, D, dtype=torch.double)
    whole, found = layer(x, memory=memory, return_diagnostics=True)
    for t in range(N):
        one, own = layer(x[:, t : t + 1], memory=memory, offset=t, return_diagnostics=True)
        assert torch.allclose(one[:, 0], whole[:, t], atol=1e-12)
        assert torch.allclose(own["attention"][:, :, 0], found["attention"][:, :, t], atol=1e-12)
    assert not torch.allclose(layer(x[:, 3:4], memory=memory)[:, 0], whole[:, 3], atol=1e-3)
    with pytest.raises(ValueError, match="offset=3 is for cross-attention"):
        layer(x, offset=3)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"query_frequency": "separate"}, {"delayed_heads": 1, "top_k": 2}], ids=str)
def test_decoding_beside_a_memory_equals_the_full_pass(options):
    layer = shaken(causal=False, **options)
    x, memory = torch.randn(2, N, D, dtype=torch.double), torch.randn(2, 5, D, dtype=torch.double)
    for real in (None, torch.tensor([[True, True, False, True, True], [True] * 3 + [False] * 2])):
        whole = layer(x, memory=memory, padding_mask=real)
        cache = layer.init_cache(2, memory=memory, padding_mask=real)
        for t in range(N):
            assert torch.allclose(layer.step(x[:, t], cache), whole[:, t], atol=1e-12)
    with pytest.raises(ValueError, match="memory has a batch of 2 and the cache one of 3"):
        layer.init_cache(3, memory=memory)
    with pytest.raises(ValueError, match="padding_mask is of a memory here"):
        layer.init_cache(2, padding_mask=real)
    with pytest.raises(ValueError, match="cannot decode token by token"):
        layer.step(x[:, 0], layer.init_cache(2))
    with pytest.raises(ValueError, match="this cache is of a memory, which is all there: take step"):
        shaken(**options).prefill(x, cache)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_calibrated_start_locks_the_share_of_pairs_with_a_memory_too(share):
    torch.manual_seed(0)
    layer = SelectiveSynchronizationAttention(D, H, causal=False, start=Start(locked_fraction=share), delayed_heads=1)
    x, memory = torch.randn(4, 40, D), 3 * torch.randn(4, 30, D)
    layer.calibrate(x, memory)
    locked = layer.diagnostics(x, memory)["locked_fraction"]
    assert locked.tolist() == pytest.approx([share] * H, abs=0.01)


def test_bfloat16_is_near_float32():
    torch.manual_seed(0)
    layer, x = SelectiveSynchronizationAttention(64, 4), torch.randn(2, 200, 64)
    exact = layer(x).detach()
    rounded = layer.bfloat16()(x.bfloat16()).float().detach()
    assert float((rounded - exact).norm() / exact.norm()) < 0.05


def test_a_fixed_threshold_travels_with_the_weights():
    one, other = (
        SelectiveSynchronizationAttention(D, H, start=Start(theta=theta), learn_theta=False) for theta in (0.7, 1.1)
    )
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.theta, one.theta)


def test_diagnostics_are_what_they_say():
    layer = shaken()
    x = torch.randn(2, N, D, dtype=torch.double)
    found = layer(x, return_diagnostics=True)[1]
    assert torch.allclose(found["attention"].sum(-1), torch.ones(2, H, N, dtype=torch.double))
    assert torch.equal(found["attention"].triu(1), torch.zeros_like(found["attention"]))
    assert all(found[name].shape == (H,) for name in ("locked_fraction", "order_parameter", "alpha", "K", "theta"))
    assert ((found["theta"] > 0) & (found["theta"] < math.pi / 2)).all() and (found["locking_radius"] > 0).all()
    assert not any(value.requires_grad for value in found.values())


def test_a_block_is_a_drop_in_layer():
    x = torch.randn(2, N, D)
    for feed_forward, units in (("gelu", 4 * D), ("swiglu", 8 * D // 3)):
        block = OSNBlock(D, H, feed_forward=feed_forward, causal=False)
        assert block(x).shape == x.shape
        assert block.feed_forward.down.in_features == units


def test_a_block_takes_padding_and_memory_as_the_layer_does():
    block = OSNBlock(D, H, causal=False)
    x, memory = torch.randn(2, N, D), torch.randn(2, 5, D)
    real = torch.ones(2, N, dtype=torch.bool)
    real[0, N - 2 :] = False
    real[1] = False  # nothing real: attention adds zeros, the feed-forward is that of x alone
    out = block(x, padding_mask=real)
    torch.testing.assert_close(out[:1, : N - 2], block(x[:1, : N - 2]))
    torch.testing.assert_close(out[1], x[1] + block.feed_forward(block.feed_forward_norm(x[1])))
    between = x + block.mixer(block.mixer_norm(x), memory=memory, padding_mask=real[:, :5], offset=2)
    expected = between + block.feed_forward(block.feed_forward_norm(between))
    torch.testing.assert_close(block(x, memory=memory, padding_mask=real[:, :5], offset=2), expected)


def layer_of(options):
    """A layer from its settings, those of its positions and its start among them."""
    layer = {"d_model": D, "n_heads": H}
    for name, value in options.items():
        group = next((g for g in (Positions, Start) if name in g.__dataclass_fields__), None)
        layer |= {name: value} if group is None else {group.__name__.lower(): group(**{name: value})}
    return SelectiveSynchronizationAttention(**layer)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_heads": 5}, "does not split into 5 heads"),
        ({"theta": 2.0}, "does not lie in"),
        ({"theta": math.pi / 2}, "cannot be learned from there"),
        ({"locked_fraction": 1.0}, "between 0 and 1"),
        ({"query_frequency": "own"}, "'own' is none of shared, separate"),
        ({"delayed_heads": 3}, "not between 0 and n_heads=2"),
        ({"position_share": (0.5, 1.0)}, "not two numbers between 0 and 1"),
        ({"frequency_width": 0}, "is less than 1"),
        ({"cap": 0.0}, "is not positive"),
        ({"floor": -0.1}, "floor=-0.1 is not a number from 0 on"),
        ({"floor": math.inf}, "floor=inf is not"),
        ({"lag": math.nan}, "lag=nan is not a number"),
        ({"drifts": 0}, "drifts=0 is less than 1"),
        ({"drift_base": 0}, "drift_base=0 is not positive"),
        ({"alpha": 0.0}, "alpha=0.0 is not positive"),
        ({"K": -1.0}, "K=-1.0 is not positive"),
        ({"K": 1e30}, r"K=1e\+30 is more than 1e\+06"),
        ({"theta": 1e-4}, r"theta=0.0001 does not lie in \[0.001, pi/2\]"),
        ({"calibration_length": 1}, "less than 2"),
        ({"d_model": 0}, "d_model=0 is less than 1"),
    ],
)
def test_impossible_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        layer_of(options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"causal": False}, "must not know the future"),
        ({"start": "zero"}, "'zero' is none of calibrated, published"),
        ({"lag": 1.0, "position": False}, "lag=1.0 needs positions"),
        ({"feed_forward": "relu"}, "neither 'gelu' nor 'swiglu'"),
    ],
)
def test_what_a_language_model_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        OSN(16, D, 1, H, 8, **options)


def test_keywords_of_a_network_reach_positions_start_and_attention():
    model = OSN(16, D, 1, H, 8, drifts=3, lag=0, theta=0.7, delayed_heads=2, top_k=5, calibration_length=32)
    layer = model.layers[0].mixer
    assert (layer.amplitude.shape, layer.lag, layer.delayed_heads, layer.top_k) == ((H, 3), None, 2, 5)
    assert (layer.start.theta, layer.start.calibration_length) == (0.7, 32)
    assert OSN(16, D, 1, H, 8, position=False).layers[0].mixer.rotary is None
    with pytest.raises(TypeError, match="drfits"):
        OSN(16, D, 1, H, 8, drfits=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_heads": 2.0}, "^n_heads=2.0 is not a whole number$"),
        ({"d_model": "10"}, "^d_model='10' is not a whole number$"),
        ({"top_k": 2.5}, "^top_k=2.5 is not a whole number or None$"),
        ({"delayed_heads": None}, "^delayed_heads=None is not a whole number$"),
        ({"theta": "1.2"}, "^theta='1.2' is not a number$"),
        ({"alpha": [1.0, 2.0]}, r"^alpha=\[1.0, 2.0\] is not a number or None$"),
        ({"n_heads": True}, "^n_heads=True is not a whole number$"),
        ({"position_share": ("0.1", "0.2")}, "is not two numbers between 0 and 1$"),
        ({"causal": "no"}, "^causal='no' is neither True nor False$"),
        ({"calibrated": None}, "^calibrated=None is neither True nor False$"),
        ({"position_share": 0.5}, "^position_share=0.5 is not two numbers between 0 and 1$"),
    ],
)
def test_settings_of_a_wrong_type_are_named(options, words):
    with pytest.raises(TypeError, match=words):
        layer_of(options)


@pytest.mark.parametrize("theta", [1e-3, 0.1, 1.5])
def test_a_token_is_locked_to_itself_at_the_least_threshold(theta):
    layer = SelectiveSynchronizationAttention(D, H, start=Start(theta=theta, K=1.0, alpha=1.0))
    x = torch.randn(2, N, D)
    _, diagnostics = layer(x, return_diagnostics=True)
    assert (diagnostics["attention"].diagonal(dim1=2, dim2=3) > 0).all()


def test_what_is_no_tensor_is_named():
    layer, x = SelectiveSynchronizationAttention(D, H), torch.randn(2, N, D)
    with pytest.raises(TypeError, match=r"^x is a list, not a tensor$"):
        layer(x.tolist())
    with pytest.raises(TypeError, match=r"^memory is a tuple, not a tensor$"):
        layer(x, memory=(x,))
    with pytest.raises(TypeError, match=r"^padding_mask is a list, not a tensor$"):
        layer(x, padding_mask=[[True] * N] * 2)
    with pytest.raises(TypeError, match=r"^x is a list, not a tensor$"):
        layer.step(x[:, 0].tolist(), layer.init_cache(2))
    with pytest.raises(TypeError, match=r"^cache is not what init_cache gives$"):
        layer.step(x[:, 0], {})


def test_numbers_of_numpy_are_numbers():
    SelectiveSynchronizationAttention(np.int64(D), np.int32(H), start=Start(alpha=np.float32(2)))


def test_shapes_that_do_not_fit_are_named():
    layer, x = SelectiveSynchronizationAttention(D, H), torch.randn(2, N, D)
    with pytest.raises(ValueError, match=r"x has shape \(2, 9, 11\)"):
        layer(x[..., :-1])
    with pytest.raises(ValueError, match="memory has a batch of 1 and x one of 2"):
        layer(x, memory=x[:1])
    with pytest.raises(ValueError, match=r"padding_mask has shape \(2, 8\), not \(2, 9\)"):
        layer(x, padding_mask=torch.ones(2, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"not torch.bool"):
        layer(x, padding_mask=torch.ones(2, N))
    with pytest.raises(ValueError, match=r"x has shape \(2, 9, 12\), not \(batch, 12\): a step takes one token"):
        layer.step(x, layer.init_cache(2))
    with pytest.raises(ValueError, match="x has a batch of 2 and the cache one of 3"):
        layer.step(x[:, 0], layer.init_cache(3))
    with pytest.raises(ValueError, match="cannot decode"):
        SelectiveSynchronizationAttention(D, H, causal=False).step(x[:, 0], {})
    with pytest.raises(ValueError, match="neither 'gelu' nor 'swiglu'"):
        OSNBlock(D, H, feed_forward="relu")
