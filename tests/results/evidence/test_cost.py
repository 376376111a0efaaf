"""Cost beside loss: ratios, what counts as measured, and losses at equal cost without extrapolation."""

import json
import math
from dataclasses import replace

import pytest

from configs.compose import config_dict
from configs.sweeps import Job
from results.evidence import cost
from results.evidence.cost import at_equal_cost, relative_cost
from results.tables.equal_cost import cost_table
from training.run_record.record import Throughput
from training.sweeps.swept_run import configured_jobs


def run(record, model, a, b, seed=0, tokens=(100, 200, 400, 800), n_bytes=5000, speed=1000.0, flops=10):
    """A run whose loss is a - b log2(tokens / 100) at each of the tokens."""
    rows = [
        {"step": n, "epoch": 1.0, "tokens": n, "split": "validation", "nats": 1.0, "standard_error": 0.0}
        | {"bits_per_byte": a - b * math.log2(n / 100), "bytes": n_bytes}
        for n in tokens
    ]
    made = record(model, 2.0, seed=seed, metrics=rows, final=rows[-1], throughput=Throughput(speed, 1.0))
    return replace(made, flops_per_token=flops)


def test_a_dearer_model_is_taken_earlier_on_its_own_curve(record):
    theirs = [run(record, "transformer", 3.0, 0.2, seed=s) for s in (0, 1)]
    ours = [run(record, "osn", 2.9 + off, 0.2, seed=s) for s, off in ((0, -0.01), (1, 0.01))]
    equal = at_equal_cost(ours, theirs, 1.0, 5000)
    assert (equal.tokens, equal.difference.value) == (800, pytest.approx(-0.1))
    assert equal.difference.half_width > 0  # over seeds
    # At twice the cost it has seen half of the tokens, at 0.2 a doubling.
    equal = at_equal_cost(ours, theirs, 2.0, 5000)
    assert (equal.tokens, equal.difference.value) == (800, pytest.approx(-0.1 + 0.2))
    equal = at_equal_cost(ours, theirs, 1.5, 5000)
    assert equal.difference.value == pytest.approx(-0.1 + 0.2 * math.log2(1.5))
    # Cheaper by half: it ends where the transformer has 400 of its 800 tokens.
    equal = at_equal_cost(ours, theirs, 0.5, 5000)
    assert (equal.tokens, equal.difference.value) == (400, pytest.approx(-0.1 - 0.2))


def test_a_longer_run_of_the_transformer_is_used_as_far_as_the_model_reaches(record):
    theirs, ours = [run(record, "transformer", 3.0, 0.2)], [run(record, "osn", 2.9, 0.2, tokens=(100, 200))]
    equal = at_equal_cost(ours, theirs, 2.0, 5000)
    assert (equal.tokens, equal.difference.value) == (400, pytest.approx(-0.1 + 0.2))


def test_nothing_is_extrapolated(record):
    theirs, ours = [run(record, "transformer", 3.0, 0.2)], [run(record, "osn", 2.9, 0.2)]
    assert at_equal_cost(ours, theirs, 8.0, 5000).difference.value == pytest.approx(-0.1 + 0.6)
    assert at_equal_cost(ours, theirs, 8.1, 5000) is None  # before its first validation
    assert at_equal_cost(ours, theirs, 1.0, 7000) is None  # on other bytes
    late = run(record, "osn", 2.9, 0.2, seed=1, tokens=(400, 800))
    assert at_equal_cost([*ours, late], theirs, 4.0, 5000) is None  # one seed does not reach
    assert at_equal_cost([*ours, late], theirs, 2.0, 5000) is not None


def test_speeds_of_the_runs_tell_the_time_only_where_seeds_agree(record):
    def runs(model, *speeds, flops):
        return [run(record, model, 3, 0.2, seed=s, speed=v, flops=flops) for s, v in enumerate(speeds)]

    theirs = runs("transformer", 1000, 1100, 1050, flops=10)
    ours = relative_cost(runs("osn", 500, 525, 550, flops=13), theirs)
    assert (ours.flops, ours.time, ours.benchmarked) == (1.3, 2.0, False)
    assert relative_cost(runs("osn", 500, 525, 700, flops=13), theirs).time is None
    assert relative_cost(runs("osn", 525, flops=13), theirs).time is None
    elsewhere = runs("osn", 5000, 5250, 5500, flops=13)
    for faster in elsewhere:
        faster.device = replace(faster.device, kind="cuda", name="NVIDIA H100")
    assert relative_cost(elsewhere, theirs).time is None, "speeds of two devices are no ratio of one"


@pytest.fixture
def benchmark(monkeypatch):
    """One of transformer and osn at smoke scale, osn at 1.5 times the time."""
    config = {"scale": {"name": "smoke"}, "context": 256, "device": "cpu", "precision": "32", "compile": False}
    config |= {"batch_size": 16, "threads": 2}
    timings = [{"model": m, "parameters": 49_000, "ratio": r} for m, r in (("transformer", 1.0), ("osn", 1.5))]
    monkeypatch.setattr(cost, "_benchmarks", lambda: [{"config": config, "device": "a processor", "timings": timings}])
    return config


def test_a_benchmark_counts_where_it_is_of_these_models_sizes_and_windows(record, benchmark):
    def trained(model, *settings):
        ((_, config),) = configured_jobs([Job((f"model={model}", "scale=smoke", *settings))])
        plain = json.loads(json.dumps(config_dict(config)))
        return [record(model, 2.0, config=plain, parameters={"total": 49_000})]

    theirs, ours = trained("transformer"), trained("osn", "optim.lr=0.5", "data.split=[0.8,0.1,0.1]")
    ours[0].flops_per_token = 3
    assert relative_cost(ours, theirs) == cost.Cost(flops=3.0, time=1.5, benchmarked=True)
    assert relative_cost(theirs, theirs).time == 1.0
    other_model = trained("osn", "model.lag=0")
    other_size = [replace(ours[0], parameters={"total": 48_000})]
    changed = [trained("osn", change) for change in ("data.context=128", "precision=bf16", "batch_size=8")]
    for others in (other_model, other_size, *changed):
        assert relative_cost(others, theirs).time is None
    on_cuda = [replace(ours[0], device=replace(ours[0].device, kind="cuda", threads=1))]
    assert relative_cost(on_cuda, theirs).time == 1.5, "where the transformer was trained"
    assert relative_cost(ours, [replace(theirs[0], device=on_cuda[0].device)]).time is None
    benchmark["threads"] = 1
    assert relative_cost(ours, theirs).time is None
    benchmark.update(threads=2, device="cuda")
    assert relative_cost(ours, theirs).time is None


def test_the_table_says_what_is_not_measured_and_not_reached(record):
    runs = {"transformer": [run(record, "transformer", 3.0, 0.2)], "osn": [run(record, "osn", 2.9, 0.2, flops=100)]}
    table = cost_table("mine: ", runs)
    assert table.title.startswith("mine: cost beside loss; bits per byte minus transformer's on the first 5,000 val")
    assert list(table.rows[0].values()) == ["transformer", "1.00", "1.00", "", "", ""]
    assert table.rows[1] == {
        "model": "osn",
        "FLOPs / transformer": "10.00",
        "time / transformer": "not measured",
        "equal tokens": "-0.1000 one seed",
        "equal FLOPs": "not reached",
        "equal time": "not measured",
    }
    assert "not measured: no benchmark has it" in table.notes[0] and "after 800 tokens" in table.notes[1]
    assert cost_table("", {"osn": runs["osn"], "fsn": runs["osn"]}) is None
    assert cost_table("", {"transformer": runs["transformer"]}) is None


def test_committed_benchmarks_cover_the_models_that_were_timed():
    assert {benchmark["config"]["scale"]["name"] for benchmark in cost._benchmarks()} >= {"250k", "1m"}
