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
from fsn.coupling import kernel_function
from measures.coupling import Order, kernels, order
from results.evaluate.coupling import coupling_entry as make_entry
from results.evidence.coupling import kernel
from results.evidence.stored import stored_evaluation as chosen
from results.figures.coupling import draw_evaluation, plot_coupling
from results.tables import coupling

RUN = SimpleNamespace(checkpoint=Path("last.ckpt"), step=30)  # the step of the conftest's last validation


def network(seed=0, n_layers=2, **changes):
    torch.manual_seed(seed)
    model = FSN(n_phases=6, n_layers=n_layers, n_heads=1, ff_width=4, **changes)
    for layer in model.layers:
        for part in (layer.mixer.kernel_real, layer.mixer.kernel_imag):
            if part is not None:
                part.data = torch.randn_like(part)
    return model


def recorded(model, run=RUN):
    """An entry as it comes back from a record."""
    windows = torch.randint(0, 256, (2, 5))
    entry = make_entry(run, kernels(model), order(model, windows), "validation", len(windows))
    return json.loads(json.dumps(entry, allow_nan=False))


def test_the_recorded_kernel_is_the_layers_coupling_function():
    model = network(harmonics=3)
    entry = recorded(model)
    difference = torch.linspace(-math.pi, math.pi, 9)
    for layer, kappa in zip(model.layers, kernel(entry), strict=True):
        expected = coupling_function(layer.mixer, difference).double()
        torch.testing.assert_close(kernel_function(kappa, difference.double()), expected, rtol=0, atol=2e-4)
        exact = torch.complex(layer.mixer.kernel_real, layer.mixer.kernel_imag).detach()
        torch.testing.assert_close(kappa.to(torch.complex64), exact, rtol=6e-5, atol=0)
    assert entry["kernel_real"][1][2][0][4] == float(f"{float(exact[2, 0, 4].real):.5g}")
    assert {name: entry[name] for name in ("task", "split", "checkpoint", "step", "windows")} == {
        "task": "coupling",
        "split": "validation",
        "checkpoint": "last.ckpt",
        "step": 30,
        "windows": 2,
    }


def test_a_kernel_without_frustration_is_recorded_with_zeros():
    kappa = kernel(recorded(network(harmonics=1, delay=False, frustration=False)))
    assert kappa.shape == (2, 1, 1, 6) and not kappa.imag.any()


def known(angle, strength=0.5, order_parameter=0.75, delays=1):
    """An entry of one layer whose coordinates are alike: kappa_1 at `angle` degrees, kappa_2 repulsive."""
    first = torch.polar(torch.full((4,), strength), torch.full((4,), math.radians(angle)))
    kappa = torch.stack((first, torch.full((4,), -0.25 + 0j)))[None, :, None].expand(-1, -1, delays, -1)
    return make_entry(RUN, kappa, Order([[order_parameter]], [[0.125]], [[1.5]]), "validation", 8)


def with_entries(*records):
    return [(record, made) for record in records if (made := chosen(record, "coupling")) is not None]


def test_the_table_names_angles_and_signs(record):
    first, second = coupling.coupling_rows(with_entries(record("fsn", 2.0, evaluations=[{"split": "test"}, known(30)])))
    assert first == {
        "model": "fsn",
        "layer": "0",
        "delay": "0",
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
    entry = make_entry(RUN, torch.zeros(1, 1, 1, 2, dtype=torch.complex64), zero, "validation", 8)
    svg = draw_evaluation("kuramoto", "kuramoto", entry, tmp_path / "x")[1]
    assert "no direction" in svg.read_text()
    assert coupling.kernel_rows("kuramoto", [entry])[0]["angle (deg)"] == "-"
