"""The laws of docs/scaling.md, its hours, and that the page is what its command makes of the committed record."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from results.evidence.scaling import AXES, along, fit, quantities, read_scaling
from results.scaling import __main__ as page
from results.scaling.roofline import BANDWIDTH, hours, sweep_hours
from training.benchmarks.scaling import ScalingPoint

ROOT = Path(__file__).parents[3]


def point(axis, value, flops=1, seconds=1.0, memory=0, **more):
    return ScalingPoint("fsn", axis, value, 256, 1_000_000, "4 x 128", flops, memory, memory, seconds, 1.0, **more)


def test_the_page_is_what_its_command_makes(tmp_path, capsys):
    page.main([f"output={tmp_path / 'scaling.md'}"])
    for name in ("scaling.md", "scaling.svg"):
        made, committed = ((folder / name).read_text() for folder in (tmp_path, ROOT / "docs"))
        assert made == committed, "type make scaling, and look at what changed"


def test_laws_are_found_and_their_error_is_that_of_the_worst_point():
    lengths = [128, 256, 512, 1024, 2048]
    points = [point("context", N, flops=5_000_000 + 4_000 * N, seconds=2 * (10 + N / 512)) for N in lengths]
    of = quantities(tokens=1_000_000)
    law = fit(points, "context", "FLOPs", of["FLOPs"])
    assert law.law == "5 + 4.1 n" and law.error < 1e-9 and law.at(4096) == pytest.approx(5 + 4.096 * 4)
    assert fit(points, "context", "time", of["time"]).law == "20 + 4 n"
    points[2] = point("context", 512, flops=round(1.1 * (5_000_000 + 4_000 * 512)))
    worse = fit(points, "context", "FLOPs", of["FLOPs"])
    measured = [of["FLOPs"](one) for one in points]
    expected = np.abs(np.array([worse.at(N) for N in lengths]) / measured - 1).max()
    assert worse.error == pytest.approx(expected) and 0.03 < expected < 0.1
    assert fit(points[:2], "context", "FLOPs", of["FLOPs"]) is None, "two points lie on any line"


def test_each_axis_has_its_law():
    of = quantities(tokens=1)
    widths = [point("width", w, memory=2**20 * (300 + w + w * w)) for w in (64, 96, 128, 192, 256)]
    assert fit(widths, "width", "memory", of["memory"]).law == "300 + 128 v + 16,400 v^2"
    lengths = [point("context", N, memory=2**20 * (10 + 1024 * 8 // N)) for N in (128, 256, 512, 1024, 2048)]
    assert fit(lengths, "context", "memory", of["memory"]).law == "10 + 8 / n"
    sizes = [point("parameters", P, flops=round(7 * P**0.9)) for P in (250_000, 1_000_000, 2_000_000, 4_000_000)]
    assert fit(sizes, "parameters", "FLOPs", of["FLOPs"]).law.endswith(" P^0.90")


def test_the_roofline_is_the_longer_of_two_times():
    traffic = point("parameters", 1_000_000, flops=8_724_480, memory=100_000_000)
    (found,) = hours([traffic], tokens_a_step=2048)
    assert found.tokens == 30 * 90_000_000
    assert found.arithmetic == pytest.approx(2.7e9 * 8_724_480 / 494e12 / 3600)
    assert found.traffic == pytest.approx(2.7e9 / 4096 * (40e6 + 2 * 2e8) / BANDWIDTH / 3600)
    assert found.roofline == found.traffic > found.arithmetic
    assert found.at_measured == pytest.approx(2.7e9 / found.measured / 3600) and found.measured > 100_000
    assert sweep_hours([found])[0] == pytest.approx(found.roofline * 5 * (30 + 50) / 30)
    (slow,) = hours([point("parameters", 1_000_000, flops=10**9, memory=1)], tokens_a_step=2048)
    assert slow.roofline == slow.arithmetic
    assert slow.measured is None, "the runs on record are of another form, whose tokens cost less"
    assert hours([point("parameters", 4_000_000)], 2048) == []


def test_the_committed_measurement_has_five_points_of_every_model_on_every_axis():
    measured = read_scaling(page.RECORD)
    models = measured["config"]["models"]
    assert set(models) == {"transformer", "kuramoto", "fsn", "fsn_native", "osn"}
    assert {(axis, model): len(along(measured["points"], axis, model)) for axis in AXES for model in models} == {
        (axis, model): 5 for axis in AXES for model in models
    }


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"profile=cpu: takes record=FILE\.json and output=FILE\.md alone"):
        page.main(["profile=cpu"])
    with pytest.raises(UserError, match=r"measure with bench\.py task=scaling output="):
        page.main([f"record={tmp_path / 'none.json'}"])
    with pytest.raises(UserError, match=r"measure with bench\.py task=scaling output="):
        page.main([f"record={ROOT / 'results/records/bench/cpu-1m.json'}"])
    with pytest.raises(UserError, match="the page has places for hours; it takes each of measurement, hours once"):
        page.filled("<!-- made: hours -->\n<!-- end -->", {"measurement": "", "hours": ""})
