"""Coupling functions from records: what is recorded is what the layer does, and tables and figures tell it."""

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from configs.errors import UserError
from fsn import FSN, coupling_function
from fsn.coupling import coupled_to, kernel_function
from measures.coupling import Kernel, Order, kernels, order
from results.evaluate.coupling import coupling_entry as make_entry
from results.evidence.coupling import stored_kernels
from results.evidence.stored import stored_evaluation as chosen
from results.figures import coupling as figures
from results.figures.coupling import draw_evaluation, plot_coupling
from results.tables import coupling

RUN = SimpleNamespace(checkpoint=Path("last.ckpt"), step=30)  # the step of the conftest's last validation


def network(seed=0, n_layers=2, **changes):
    """Attention alone, two harmonics, unless `changes` say otherwise."""
    torch.manual_seed(seed)
    plain = {"harmonics": 2, "local_layers": 0, "copying_layers": 0}
    model = FSN(n_phases=6, n_layers=n_layers, n_heads=1, ff_width=4, **plain | changes)
    for layer in model.layers:
        for part in (part for mixer in layer.mixers().values() for part in mixer.kernels()):
            part.data = torch.randn_like(part)
    return model


def recorded(model, run=RUN):
    """An entry as it comes back from a record."""
    windows = torch.randint(0, 256, (2, 5))
    entry = make_entry(run, kernels(model), order(model, windows), "validation", len(windows))
    return json.loads(json.dumps(entry, allow_nan=False))


MIXERS = {"local_layers": 1, "reach": 3, "copying_layers": 1}


@pytest.mark.parametrize("changes", [{}, MIXERS])
def test_the_recorded_kernels_are_the_mixers_coupling_functions(changes):
    model = network(harmonics=3, **changes)
    entry = recorded(model)
    difference = torch.linspace(-math.pi, math.pi, 9)
    expected = [
        (number, partner, gamma.double())
        for number, layer in enumerate(model.layers)
        for mixer in layer.mixers().values()
        for partner, gamma in zip(coupled_to(mixer), coupling_function(mixer, difference), strict=True)
    ]
    for kernel, (number, partner, gamma) in zip(stored_kernels(entry), expected, strict=True):
        assert (kernel.layer, kernel.coupled_to) == (number, partner)
        torch.testing.assert_close(kernel_function(kernel.kappa, difference.double()), gamma, rtol=0, atol=2e-4)
    exact = float(model.layers[1].mixer.kernel_real.detach()[2, 0, 4])
    first = next(kernel for kernel in entry["kernels"] if kernel["layer"] == 1)
    assert first["kernel_real"][2][4] == float(f"{exact:.5g}")
    assert {name: entry[name] for name in ("task", "split", "checkpoint", "step", "windows")} == {
        "task": "coupling",
        "split": "validation",
        "checkpoint": "last.ckpt",
        "step": 30,
        "windows": 2,
    }


def test_a_kernel_without_frustration_is_recorded_with_zeros():
    for kernel in stored_kernels(recorded(network(harmonics=1, delay=False, frustration=False))):
        assert kernel.kappa.shape == (1, 6) and not kernel.kappa.imag.any()


def test_an_older_entry_holds_the_same_kernels(record):
    """Those of attention, as layer -> harmonic -> delay -> coordinate."""
    entry = recorded(network(harmonics=3))
    older = {key: value for key, value in entry.items() if key != "kernels"}
    for part in ("kernel_real", "kernel_imag"):
        of_layers = [[k[part] for k in entry["kernels"] if k["layer"] == layer] for layer in (0, 1)]
        older[part] = [[list(of_delays) for of_delays in zip(*layer, strict=True)] for layer in of_layers]
    for new, old in zip(stored_kernels(entry), stored_kernels(older), strict=True):
        assert (new.layer, new.mixer, new.coupled_to) == (old.layer, old.mixer, old.coupled_to)
        assert torch.equal(new.kappa, old.kappa)
    rows = [coupling.kernel_rows("fsn", entries) for entries in ([entry, entry], [older, older], [entry, older])]
    assert rows[0] == rows[1] == rows[2]


def known(angle, strength=0.5, order_parameter=0.75, delays=1):
    """An entry of one layer whose coordinates are alike: kappa_1 at `angle` degrees, kappa_2 repulsive."""
    first = torch.polar(torch.full((4,), strength), torch.full((4,), math.radians(angle)))
    kappa = torch.stack((first, torch.full((4,), -0.25 + 0j)))
    read = [Kernel(0, "attention", token, kappa) for token in ("attended token", "its successor")[:delays]]
    return make_entry(RUN, read, Order([[order_parameter]], [[0.125]], [[1.5]]), "validation", 8)


def with_entries(*records):
    return [(record, made) for record in records if (made := chosen(record, "coupling")) is not None]


def test_the_table_names_angles_and_signs(record):
    first, second = coupling.coupling_rows(with_entries(record("fsn", 2.0, evaluations=[{"split": "test"}, known(30)])))
    assert first == {
        "model": "fsn",
        "layer": "0",
        "mixer": "attention",
        "coupled to": "attended token",
        "harmonic": "1",
        "mean abs κ (rad)": "0.500",
        "angle (deg)": "30.0",
        "deviation (deg)": "0.0",
        "repulsive": "0%",
        "order parameter": "0.750",
        "null slot": "0.125",
        "gate": "1.500",
    }
    assert (second["harmonic"], second["angle (deg)"], second["repulsive"]) == ("2", "180.0", "100%")


def test_seeds_share_rows_over_all_their_coordinates(record):
    seeds = [
        record("fsn", 2.0, seed=0, evaluations=[known(-20, 0.25, 0.5)]),
        record("fsn", 2.0, seed=1, evaluations=[known(40, 0.25, 1.0)]),
        record("transformer", 2.0),
    ]
    row = coupling.coupling_rows(with_entries(*seeds))[0]
    assert (row["model"], row["angle (deg)"], row["order parameter"]) == ("fsn, 2 seeds", "10.0", "0.750")
    # Half at 30 degrees to either side of the mean: R = cos 30 degrees.
    expected = math.degrees(math.sqrt(2 * (1 - math.cos(math.radians(30)))))
    assert float(row["deviation (deg)"]) == pytest.approx(expected, abs=0.05)


def test_the_latest_entry_of_the_last_step_counts(record):
    start, heads = known(0) | {"step": 0, "checkpoint": "start"}, {"task": "synchrony", "step": 30}
    run = record("fsn", 2.0, evaluations=[known(10), known(20), start, heads])
    assert coupling.coupling_rows(with_entries(run))[0]["angle (deg)"] == "20.0"
    unfinished = record("fsn", 2.0, evaluations=[start, known(20)], final=None, status="interrupted")
    assert coupling.coupling_rows(with_entries(unfinished))[0]["angle (deg)"] == "20.0"
    for none in ([], [start], [heads]):
        assert with_entries(record("fsn", 2.0, evaluations=none)) == []


def test_runs_that_do_not_belong_together_are_refused(record, tmp_path):
    one = record("fsn", 2.0, evaluations=[known(30)])
    config = {"model": {"name": "fsn", "coupling": 0.9}, "scale": {"name": "250k"}, "data": {"context": 256}}
    for call in (coupling.coupling_rows, lambda evaluated: plot_coupling(evaluated, tmp_path / "x")):
        with pytest.raises(UserError, match=r"differ in model\.coupling"):
            call(with_entries(one, record("fsn", 2.0, seed=1, config=config, evaluations=[known(30)])))
        with pytest.raises(UserError, match="two of the runs are of fsn with seed 0"):
            call(with_entries(one, record("fsn", 2.1, evaluations=[known(30)])))
    assert list(tmp_path.iterdir()) == []


def test_a_figure_for_each_model_from_its_first_seed(record, tmp_path):
    base = recorded(network(n_layers=1, harmonics=1, delay=False, frustration=False))
    runs = [
        record("fsn", 2.0, seed=2, evaluations=[known(60)]),
        record("fsn", 2.0, seed=1, evaluations=[known(-30, delays=2)]),
        record("kuramoto", 2.0, evaluations=[base]),
    ]
    files = plot_coupling(with_entries(*runs), tmp_path / "a.b")
    names = ["a.b-fsn.png", "a.b-fsn.svg", "a.b-kuramoto.png", "a.b-kuramoto.svg"]
    assert [file.name for file in files] == names
    text = " ".join(ET.parse(files[1]).getroot().itertext())
    assert "fsn, seed 1 (first of 2 seeds), last.ckpt (step 30)" in text
    for words in (
        "layer 0",
        "Γ(Δ) (rad)",
        "phase difference Δ (rad)",
        "|κ₁| 0.50, \N{MINUS SIGN}30° (s.d. 0°), attractive in 100%",
        "|κ₂| 0.25, 180° (s.d. 0°), repulsive in 100%",
        "order parameter",
        "weight on null slot",
    ):
        assert words in text
    text = " ".join(ET.parse(files[3]).getroot().itertext())
    assert "kuramoto, seed 0, last.ckpt" in text and "null slot" not in text
    again = plot_coupling(with_entries(*runs[2:]), tmp_path / "again")
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in files[2:]]


def test_a_kernel_of_zeros_is_drawn_without_a_direction(tmp_path):
    zero = Order([[0.5]], [[0.0]], [[1.0]])
    kernel = Kernel(0, "attention", "attended token", torch.zeros(1, 2, dtype=torch.complex64))
    entry = make_entry(RUN, [kernel], zero, "validation", 8)
    svg = draw_evaluation("kuramoto", "kuramoto", entry, tmp_path / "x")[1]
    assert "no direction" in svg.read_text()
    assert coupling.kernel_rows("kuramoto", [entry])[0]["angle (deg)"] == "-"


def test_a_row_has_the_heads_of_its_mixer():
    entry = recorded(network(**MIXERS))
    rows = coupling.kernel_rows("fsn", [entry, entry])
    places = [(row["layer"], row["mixer"], row["coupled to"], row["harmonic"]) for row in rows]
    assert places == [
        *(("0", "local", f"{tau} back", m) for tau in (1, 2, 3) for m in "12"),
        *(("1", "attention", token, m) for token in ("attended token", "its successor") for m in "12"),
        ("1", "copying", "its successor", "1"),
    ]
    assert {rows[0][name] for name in ("order parameter", "null slot", "gate")} == {"-"}
    attention, copying = (f"{value:.3f}" for value in entry["order_parameter"][1])
    assert (rows[6]["order parameter"], rows[-1]["order parameter"]) == (attention, copying) and attention != copying


def letters(text):
    return "".join(text.split())


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        (MIXERS, ["local coupling", "distance (tokens)", "attended token", "copying head, successor", "local"], []),
        ({"local_layers": 2}, ["local coupling", "|κ₂|"], ["attended token", "order parameter", "Above each panel"]),
        ({"local_layers": 2, "copying_layers": 1}, ["copying head, successor", "null slot"], ["attended token"]),
        ({"local_layers": 1, "delay": False}, ["attended token", "order parameter"], ["null slot", "copying"]),
    ],
)
def test_a_figure_has_the_panels_of_its_mixers_alone(changes, present, absent, tmp_path):
    svg = draw_evaluation("fsn", "fsn", recorded(network(**changes)), tmp_path / "x")[1]
    text = letters("".join(ET.parse(svg).getroot().itertext()))  # formulas lose their spaces
    assert [words for words in present if letters(words) not in text] == []
    assert [words for words in absent if letters(words) in text] == []


def test_local_coupling_is_drawn_by_distance(tmp_path, monkeypatch):
    """Mean |kappa| over coordinates, a line a harmonic, on one scale for all layers."""
    drawn = []
    monkeypatch.setattr(figures, "write_figure", lambda figure, path: drawn.append(figure) or [])
    model = network(local_layers=2, reach=3)
    draw_evaluation("fsn", "fsn", recorded(model), tmp_path / "x")
    for panel, layer in zip(drawn[0].axes, model.layers, strict=True):
        strength = torch.hypot(*layer.mixer.kernels()).mean(-1).detach()
        for m, line in enumerate(panel.lines):
            assert list(line.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == pytest.approx(strength[:, m].tolist(), rel=1e-3)
        assert panel.get_ylim() == drawn[0].axes[0].get_ylim()
        assert panel.get_ylim()[0] == 0 and panel.get_ylim()[1] > float(strength.max())
