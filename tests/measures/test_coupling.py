"""Measures of coupling kernels and of order: against obvious loops, and where their values are known."""

import cmath
import math

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from fsn import FSN
from measures.coupling import harmonic, heads_of, kernels, order
from training.budget import resolve_shape
from training.build import build_model


def small(**changes):
    """Attention alone, two harmonics, unless `changes` say otherwise."""
    torch.manual_seed(0)
    plain = {"harmonics": 2, "local_layers": 0, "copying_layers": 0}
    return FSN(n_phases=8, n_layers=2, n_heads=2, ff_width=8, **plain | changes).double()


def test_statistics_over_coordinates_against_a_loop():
    torch.manual_seed(0)
    kappa = torch.randn(50, dtype=torch.complex128) + 0.5 - 0.4j
    total, strength, negative = 0j, 0.0, 0
    for value in kappa.tolist():
        weight = abs(value)
        total += weight * cmath.exp(1j * cmath.phase(value))
        strength += weight
        negative += value.real < 0
    found = harmonic(kappa)
    assert found.strength == pytest.approx(strength / 50)
    assert found.angle == pytest.approx(math.atan2(total.imag, total.real))
    assert found.deviation == pytest.approx(math.sqrt(2 * (1 - abs(total) / strength)))
    assert 0 < found.repulsive == negative / 50 < 1


def test_an_angle_set_by_hand_is_read():
    model = small()
    for layer in model.layers:
        strength = 0.2 + torch.rand_like(layer.mixer.kernel_real)
        layer.mixer.kernel_real.data = strength * math.cos(math.radians(30))
        layer.mixer.kernel_imag.data = strength * math.sin(math.radians(30))
    read = kernels(model)
    tokens = ("attended token", "its successor")
    assert [(k.layer, k.mixer, k.coupled_to) for k in read] == [(n, "attention", t) for n in (0, 1) for t in tokens]
    kappa = torch.stack([kernel.kappa for kernel in read])
    assert kappa.shape == (4, 2, 8)  # kernels, M, d
    for part in kappa.flatten(0, 1):
        found = harmonic(part)
        assert math.degrees(found.angle) == pytest.approx(30)
        assert found.deviation == pytest.approx(0, abs=1e-6) and found.repulsive == 0
    assert math.degrees(harmonic(-kappa[0, 0]).angle) == pytest.approx(-150)
    assert harmonic(-kappa[0, 0]).repulsive == 1


def test_every_mixer_s_kernels_are_read():
    model = small(local_layers=1, reach=3, copying_layers=2, copying_share=0.25)
    for layer in model.layers:
        for mixer in layer.mixers().values():
            mixer.kernel_real.data, mixer.kernel_imag.data = (torch.randn_like(mixer.kernel_real) for _ in range(2))
    read = {(k.layer, k.mixer, k.coupled_to): k.kappa for k in kernels(model)}
    (local, copying), (attention, also_copying) = (list(layer.mixers().values()) for layer in model.layers)
    expected = {
        (0, "local", "1 back"): (local, lambda part: part[0]),
        (0, "local", "2 back"): (local, lambda part: part[1]),
        (0, "local", "3 back"): (local, lambda part: part[2]),
        (0, "copying", "its successor"): (copying, lambda part: part[:, 0]),
        (1, "attention", "attended token"): (attention, lambda part: part[:, 0]),
        (1, "attention", "its successor"): (attention, lambda part: part[:, 1]),
        (1, "copying", "its successor"): (also_copying, lambda part: part[:, 0]),
    }
    assert list(read) == list(expected)
    for place, (mixer, of) in expected.items():
        assert torch.equal(read[place], torch.complex(of(mixer.kernel_real), of(mixer.kernel_imag)).detach()), place
    assert read[0, "copying", "its successor"].shape == (1, 2)  # one harmonic, a quarter of the phases


def test_heads_are_found_by_mixer():
    windows = torch.randint(0, 256, (2, 9))
    model = small(local_layers=1, copying_layers=1)
    read, found = kernels(model), order(model, windows)
    assert [len(heads) for heads in found.gate] == [0, 3]  # two heads of attention, and the copying head
    assert found.gate[1][heads_of("copying", read, 1)] == pytest.approx([2.0])  # where its gates start
    assert found.gate[1][heads_of("attention", read, 1)] == found.gate[1][:2]
    assert found.gate[0][heads_of("local", read, 0)] == []
    plain = small()
    assert [0, 1][heads_of("attention", kernels(plain), 1)] == [0, 1]


def test_attraction_and_repulsion_that_cancel_have_no_direction():
    found = harmonic(torch.tensor([0.5 + 0.1j, -0.5 - 0.1j, 0.0]))
    assert math.isnan(found.angle)
    assert found.deviation == pytest.approx(math.sqrt(2))
    assert found.strength == pytest.approx(2 * abs(0.5 + 0.1j) / 3)
    nothing = harmonic(torch.zeros(3, dtype=torch.complex64))
    assert (nothing.strength, nothing.repulsive) == (0, 0) and math.isnan(nothing.angle + nothing.deviation)


def built(name):
    torch.manual_seed(0)
    return build_model(resolve_shape(compose("train", [f"model={name}", "scale=smoke"]), 256).model, 256)


def test_the_kuramoto_base_has_one_harmonic_one_delay_and_no_frustration():
    read = kernels(built("kuramoto"))
    assert {kernel.coupled_to for kernel in read} == {"attended token"}
    assert all(len(kernel.kappa) == 1 and harmonic(kernel.kappa[0]).angle == 0 for kernel in read)


@pytest.mark.parametrize("name", ["transformer", "osn"])
def test_a_model_without_a_coupling_kernel_is_refused(name):
    model = built(name)
    for measure in (lambda: kernels(model), lambda: order(model, torch.zeros(1, 4, dtype=torch.long))):
        with pytest.raises(UserError, match=r"for runs of fsn, fsn_native and kuramoto") as refused:
            measure()
        assert "\n" not in str(refused.value)


def test_order_is_the_mean_over_windows_and_tokens_but_the_first():
    model = small()
    windows = torch.randint(0, 256, (3, 7))
    found = order(model, windows)
    _, layers = model(windows, return_diagnostics=True)
    for layer, reported in enumerate(layers):
        for head in range(2):
            tokens = [(window, t) for window in range(3) for t in range(1, 7)]
            for name in ("order_parameter", "null", "gate"):
                values = [float(reported[name][window, head, t]) for window, t in tokens]
                assert getattr(found, name)[layer][head] == pytest.approx(sum(values) / len(values))


def test_identical_phases_are_in_full_order():
    tokens = torch.randint(0, 256, (2, 6))
    for delay in (False, True):
        model = small(delay=delay)
        model.embedding.weight.data[:] = model.embedding.weight.data[0].clone()
        found = order(model, tokens)
        expected = [1 - null for null in found.null[0]]  # the null slot has no phase
        assert found.order_parameter[0] == pytest.approx(expected)
        assert (max(found.null[0]) > 0) == delay
    assert not any(map(any, order(small(delay=False), tokens).null))
