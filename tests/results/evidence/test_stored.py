"""Which evaluation of a record a table may show, and what becomes of those that cannot be made."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from measures.statistics import Estimate
from results.evaluate import tasks
from results.evaluate.missing import evaluate_missing
from results.evidence.runs import Run
from results.evidence.stored import count_stored, final_over_text, stored_evaluation

FINAL = 30  # the step of the conftest's last validation


def copies(**changes):
    whole = {"task": "copy_depth", "split": "validation", "step": FINAL, "bytes": 5000, "context": 256}
    return whole | changes


@pytest.mark.parametrize(
    "newer",
    [
        {"bytes": 4096},  # max_bytes was typed
        {"context": 64},
        {"split": "test"},
        {"step": 20},  # an earlier checkpoint
        {"task": "coupling"},
    ],
)
def test_an_evaluation_of_something_else_does_not_count_though_it_is_newer(record, newer):
    own = copies()
    run = record("fsn", 2.0, evaluations=[own, copies(**newer)])
    assert stored_evaluation(run, "copy_depth") is own
    assert stored_evaluation(replace(run, evaluations=run.evaluations[1:]), "copy_depth") is None


def test_the_newest_of_those_that_count_is_taken(record):
    again = copies(nats=[])
    assert stored_evaluation(record("fsn", 2.0, evaluations=[copies(), again]), "copy_depth") is again


def test_an_interval_over_text_is_of_blocks_of_the_very_bytes(record):
    """Of the row itself where it names its blocks, else of an evaluation by copy depth; never over windows."""
    blocks = np.linspace(1.0, 2.0, 10)
    entry = copies(counts=[[300, 200]] * 10, nats=[[300 * b, 200 * b] for b in blocks])
    run = record("fsn", 2.0, evaluations=[entry])
    half = stats.t.ppf(0.975, 9) * stats.sem(blocks / math.log(2))
    assert final_over_text(run) == Estimate(2.0, pytest.approx(half), "text")
    for other in ({"bytes": 4096}, {"step": 20}):
        assert math.isnan(final_over_text(replace(run, evaluations=[entry | other])).half_width)
    own = replace(run, final=run.final | {"standard_error": 0.5, "blocks": 50})
    assert final_over_text(own).half_width == pytest.approx(0.5 * stats.t.ppf(0.975, 49))
    few = replace(run, final=run.final | {"standard_error": None, "blocks": 3})
    assert math.isnan(final_over_text(few).half_width)


def test_a_smoke_profile_has_bytes_of_its_own(record):
    run = record("fsn", 2.0, evaluations=[copies(bytes=4096)])
    assert stored_evaluation(run, "copy_depth") is None and stored_evaluation(run, "copy_depth", smoke=True) is not None
    assert (count_stored(run, "copy_depth"), count_stored(run, "copy_depth", smoke=True)) == (0, 1)


def test_the_start_is_another_checkpoint_than_the_end(record):
    start, last = ({"task": "synchrony", "split": "validation", "step": step} for step in (0, FINAL))
    run = record("osn", 2.0, evaluations=[last, start])
    assert stored_evaluation(run, "synchrony") is last and stored_evaluation(run, "synchrony", start=True) is start
    assert count_stored(run, "synchrony") == 2


def test_what_cannot_be_evaluated_is_named_and_the_others_are_done(record, tmp_path, monkeypatch, capsys):
    def evaluate(config):
        asked.append((config.run, config.max_bytes, config.data.path))
        if config.run.endswith("one"):
            raise UserError("the data text has changed")

    asked = []
    monkeypatch.setattr(tasks, "copy_depth", evaluate)
    runs = [
        Run(
            "",
            f"seed={seed}",
            SimpleNamespace(data=SimpleNamespace(path="moved (1).txt")),
            record("fsn", 2.0, seed),
            tmp_path / name / "record.json",
        )
        for seed, name in enumerate(("it's one", "two"))
    ]
    failed = evaluate_missing(runs, "copy_depth", smoke=True, moved=True)
    assert failed == ["seed=0, copy_depth at checkpoint last: the data text has changed"]
    assert asked == [(str(tmp_path / name), 4096, "moved (1).txt") for name in ("it's one", "two")]
    assert "[2/2] copy_depth of seed=1, checkpoint last" in capsys.readouterr().out
