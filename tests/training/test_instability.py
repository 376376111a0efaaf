"""A run that becomes unstable says so once, and one that learns does not."""

import json

import pytest

from results.evidence.runs import COMMITTED
from training import instability
from training.instability import GROWTH, ROWS, GradientWatch
from training.run import run


def told(norms, earlier=()):
    said = []
    rows = [{"split": "train", "step": 10 * i, "grad_norm": norm} for i, norm in enumerate((*earlier, *norms), start=1)]
    watch = GradientWatch(lambda step, text: said.append((step, text)), "type less", rows[: len(earlier)])
    for row in rows[len(earlier) :]:
        watch.row(row)
        watch.row({"split": "validation", "step": row["step"]})
    return said


def test_it_warns_once_when_the_median_has_grown_beyond_its_bound():
    grown = [0.5] * ROWS + [0.5 * GROWTH + 0.1] * ROWS
    (step, text), *others = told([5.0, *grown, *grown])
    # the median is that of the new value when more than half of the rows have it
    assert (step, others) == (10 * (1 + ROWS + ROWS // 2 + 1), [])
    assert text == "the gradient's norm has grown from 0.5 to 1.6, so training may be unstable: type less"


@pytest.mark.parametrize(
    "norms",
    [
        [9.0] * 5 + [0.5] * 60,  # a start
        ([0.5] * 11 + [50.0] * 9) * 5,  # single steps
        [0.5] * 40 + [0.5 * GROWTH] * 40,
        [0.1] * (ROWS - 1) + [5.0],  # too few rows
    ],
)
def test_it_is_silent_while_nothing_has_happened(norms):
    assert told(norms) == []


def test_a_resumed_run_remembers_and_does_not_warn_again():
    low, high = [0.5] * ROWS, [5.0] * ROWS
    assert len(told(high, earlier=low)) == 1
    assert told(high, earlier=low + high) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("enwiki2015-1m-360m/fsn-lr0.008-seed0", True),
        ("enwiki2015-1m-360m/fsn-lr0.008-seed1", True),
        ("enwiki2015-1m-unstable/kuramoto-lr0.006", True),
        ("enwiki2015-1m-360m/transformer-lr0.006-seed0", False),
        ("enwiki2015-1m-8m-local/fsn-lr0.006-seed0", False),
    ],
)
def test_recorded_runs(name, expected):
    said = []
    watch = GradientWatch(lambda step, text: said.append(step), "")
    for row in json.loads((COMMITTED / f"{name}.json").read_text())["metrics"]:
        watch.row(row)
    assert bool(said) == expected


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        (["model=fsn"], "type a lower optim.lr than 0.006, or model.increment_limit=2"),
        (["model=fsn", "model.increment_limit=2"], "type a lower optim.lr than 0.006"),
        (["model=transformer"], "type a lower optim.lr than 0.006"),
    ],
)
def test_a_run_says_it_once_with_what_to_type(make_config, monkeypatch, capsys, model, advice):
    monkeypatch.setattr(instability, "ROWS", 2)
    monkeypatch.setattr(instability, "GROWTH", 0.0)  # whatever the norm
    run(make_config(*model, "optim.lr=0.006"))
    lines = [line for line in capsys.readouterr().err.splitlines() if "the gradient's norm has grown" in line]
    assert len(lines) == 1 and lines[0].startswith("warning: run: step ") and lines[0].endswith(f": {advice}")
