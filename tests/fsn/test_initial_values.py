"""Where an FSN starts: kernels, gates and embedding phases, against closed forms."""

import inspect
import math

import pytest
import torch

from configs.compose import compose
from fsn import FSN, SynchronizationAttention, coupling_function, reference
from fsn.copying import CopyingHead
from fsn.local_coupling import LocalCoupling
from fsn.phases import features


def test_a_shared_kernel_is_alike_everywhere() -> None:
    layer = SynchronizationAttention(4, 1, harmonics=2, coupling=0.6)
    assert torch.equal(layer.kernel_real, torch.full((2, 2, 4), 0.3))


@pytest.mark.parametrize("coupling", [1.0, 0.25])
def test_a_copying_kernel_is_a_smoothed_sawtooth(coupling: float) -> None:
    """Coordinates 0, 3 follow the attended token, 1, 4 its successor, 2, 5 nobody."""
    layer = SynchronizationAttention(6, 1, harmonics=3, kernel="copying", coupling=coupling)
    sinc = [math.sin(m * math.pi / 4) / (m * math.pi / 4) for m in (1, 2, 3)]
    series = torch.tensor([2 * sinc[0], -sinc[1], 2 / 3 * sinc[2]]) * coupling
    for delay in range(2):
        for c in range(6):
            expected = series if c % 3 == delay else torch.zeros(3)
            torch.testing.assert_close(layer.kernel_real[:, delay, c].detach(), expected)
    assert layer.kernel_imag is not None and not layer.kernel_imag.any()


def test_without_a_delay_every_other_coordinate_follows() -> None:
    layer = SynchronizationAttention(4, 1, harmonics=1, delay=False, kernel="copying", coupling=1.0)
    assert layer.kernel_real[0, 0].tolist() == pytest.approx([4 / math.pi, 0, 4 / math.pi, 0])


def test_many_harmonics_copy_the_attended_phase() -> None:
    layer = SynchronizationAttention(2, 1, harmonics=8, delay=False, kernel="copying", coupling=1.0)
    difference = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(coupling_function(layer, difference)[0, 0], difference, rtol=0, atol=0.02)


@pytest.mark.parametrize("grading", [0.0, 1.0, 2.0])
def test_embedding_phases_are_graded_within_each_head(grading: float) -> None:
    """Narrow where the rotary drift is fast, which is at a head's first coordinates."""
    torch.manual_seed(0)
    model = FSN(20_000, n_phases=8, n_layers=2, n_heads=2, ff_width=2, grading=grading)
    expected = math.pi * torch.tensor([(j / 4) ** grading for j in (1, 2, 3, 4)]).repeat(2)
    torch.testing.assert_close(model.embedding.weight.abs().amax(0).detach(), expected, rtol=1e-3, atol=0)
    drift = model.layers[1].mixer.rotary.drift
    assert torch.equal(drift, drift.sort(descending=True).values)


@pytest.mark.parametrize("spread", [0.0, 1.0, 0.5])
def test_gates_start_around_one_with_the_asked_spread(spread: float) -> None:
    torch.manual_seed(0)
    layer = SynchronizationAttention(64, 1, gate_spread=spread)
    theta = math.pi * (2 * torch.rand(1, 500, 64) - 1)
    gate = reference.gates(layer, theta[0]).detach()
    assert float(gate.mean()) == pytest.approx(1, abs=0.05)
    assert float(gate.std()) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("name", ["fsn", "fsn_native", "kuramoto"])
def test_the_configs_grading_is_that_of_the_class(name: str) -> None:
    """Records from before the key ran with another, which results.tables.comparison knows."""
    assert compose("train", [f"model={name}"]).model.grading == inspect.signature(FSN).parameters["grading"].default


def test_local_coupling_starts_weaker_with_distance_and_of_either_sign() -> None:
    torch.manual_seed(0)
    kernel = LocalCoupling(500, reach=3, coupling=0.6).kernel_real.detach()
    torch.testing.assert_close(kernel.abs(), torch.tensor([0.6, 0.3, 0.2])[:, None, None].expand_as(kernel))
    assert kernel.sign().mean((1, 2)).abs().max() < 0.1


def test_a_kernel_may_start_in_its_first_harmonic_alone() -> None:
    attention = SynchronizationAttention(4, 1, harmonics=3, kernel="first", coupling=0.4)
    assert attention.kernel_real[0].eq(0.4).all() and attention.kernel_real[1:].eq(0).all()
    local = LocalCoupling(4, reach=2, coupling=0.4, kernel="first").kernel_real
    torch.testing.assert_close(local[:, 0].abs(), torch.tensor([[0.4], [0.2]]).expand(2, 4))
    assert local[:, 1].eq(0).all()


def test_a_copying_head_finds_the_state_that_repeats() -> None:
    """At its start: of 60 random states one comes again at the end."""
    torch.manual_seed(0)
    layer = CopyingHead(80)
    theta = math.pi * (2 * torch.rand(1, 60, 80) - 1)
    theta[:, -1] = theta[:, 20]
    attention = layer.diagnostics(features(theta))["attention"][0, 0, -1]
    assert int(attention.argmax()) == 20 and float(attention[20]) > 0.9


def test_layers_have_the_mixers_that_are_asked_for() -> None:
    model = FSN(n_phases=8, n_layers=3, ff_width=2, local_layers=1, copying_layers=2, copying_share=0.25)
    assert [type(layer.mixer) for layer in model.layers] == [LocalCoupling, *[SynchronizationAttention] * 2]
    assert [layer.copying is None for layer in model.layers] == [True, False, False]
    assert model.layers[1].copying.n_coupled == 2


@pytest.mark.parametrize("feed_forward", ["swiglu", "mean_field", "native"])
def test_increments_stay_below_their_limit_and_small_ones_as_they_are(feed_forward: str) -> None:
    theta = torch.randn(2, 5, 16)
    (free,) = FSN(n_phases=16, n_layers=1, feed_forward=feed_forward).layers
    (layer,) = FSN(n_phases=16, n_layers=1, feed_forward=feed_forward, increment_limit=2.0).layers
    layer.load_state_dict(free.state_dict())
    increments = []
    for factor in (1e-3, 1e4):
        for block in (free, layer):
            for parameter in block.feed_forward.parameters():
                parameter.data = parameter.data * factor
            increments.append(block._fed(theta))
    torch.testing.assert_close(increments[1], increments[0], rtol=1e-5, atol=0)
    unlimited, root_mean_square = (x.square().mean(-1).sqrt() for x in increments[2:])
    assert unlimited.max() > 2
    torch.testing.assert_close(root_mean_square, unlimited / (1 + (unlimited / 2).square()).sqrt(), rtol=1e-5, atol=0)
    assert root_mean_square.max() < 2.0


def test_impossible_mixers_are_refused() -> None:
    for wrong in (
        {"local_layers": 5},
        {"copying_layers": -1},
        {"copying_share": 0.01},
        {"reach": 0},
        {"quadratures": 3},
        {"increment_limit": 0.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FSN(n_phases=8, n_layers=3, **{"local_layers": 1, "copying_layers": 1, **wrong})


def test_impossible_starts_are_refused() -> None:
    for wrong in ({"kernel": "copy"}, {"null": "nil"}, {"null": "learned", "delay": False}, {"gate": "open"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SynchronizationAttention(4, 1, **wrong)
    with pytest.raises(ValueError, match="do not split into 3 heads"):
        FSN(n_phases=8, n_heads=3)
