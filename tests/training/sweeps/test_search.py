"""A search goes on where the grid ends: alike for every model, the same after a stop, never toward what failed."""

import importlib.util
import math
import shutil
from types import SimpleNamespace

import pytest

from configs import sweeps
from configs.errors import UserError
from configs.search import SweeperConfig
from configs.sweeps import Job, Sweep, requested
from training.run_record.record import load_record
from training.sweeps.search import Search, proposal, rate_of
from training.sweeps.sweep import conduct
from training.sweeps.swept_run import SweptRun

GRID = (0.002, 0.0035, 0.006, 0.01)


def bowl(rate, best=0.0047):
    return 2.5 + 0.3 * math.log(rate / best) ** 2


def test_what_is_proposed_nears_the_best_rate():
    tried = {rate: bowl(rate) for rate in GRID}
    for _ in range(3):
        rate = proposal(tried, GRID[0] / 2, GRID[-1] * 2, seed=0)
        assert rate == proposal(dict(tried), GRID[0] / 2, GRID[-1] * 2, seed=0), "the same of the same"
        tried[rate] = bowl(rate)
    assert min(tried, key=tried.get) == pytest.approx(0.0047, rel=0.05)
    beyond = {rate: bowl(rate, best=0.016) for rate in GRID}
    assert 0.01 < proposal(beyond, GRID[0] / 2, GRID[-1] * 2, seed=0) <= 0.02, "past the edge of the grid"


@pytest.mark.parametrize("best", [0.001, 0.002, 0.0047, 0.01, 0.03, None])
@pytest.mark.parametrize("grid", [GRID, (0.0011, 0.0063)])
def test_every_search_has_its_share_of_rates_within_its_bounds(grid, best):
    """Also where the best lies past the bounds, where these have more digits than a rate, and where all is flat."""
    tried = {rate: 2.5 if best is None else bowl(rate, best) for rate in grid}
    for _ in range(6):
        rate = proposal(tried, grid[0] / 2, grid[-1] * 2, seed=0)
        assert rate not in tried and grid[0] / 2.1 <= rate <= grid[-1] * 2.1 and rate == float(f"{rate:.2g}")
        tried[rate] = 2.5 if best is None else bowl(rate, best)


def test_where_all_is_tried_nothing_is_proposed():
    tried = {round(0.01 + 0.001 * k, 3): 2.5 + k for k in range(11)}
    assert proposal(tried, 0.01, 0.02, seed=0) is None


def test_a_rate_at_which_runs_fail_is_left():
    tried = {rate: bowl(rate, best=0.009) for rate in GRID[:-1]}
    rate = proposal({**tried, 0.01: math.inf}, GRID[0] / 2, GRID[-1] * 2, seed=0)
    assert GRID[0] < rate < 0.0095


def sweep_of(models=("fsn", "osn"), rates=GRID, seeds=(0, 1)):
    jobs = [
        Job((f"seed={seed}", f"model={model}", f"optim.lr={rate:g}"))
        for seed in seeds
        for model in models
        for rate in rates
    ]
    return Sweep("mine", "cpu", "Mine", jobs, ["seed", "model", "optim.lr"])


def ended(job, loss, state="done"):
    """A run with its final loss: all that a search looks at."""
    record = SimpleNamespace(status=state, final={"bits_per_byte": loss} if state == "done" else None)
    return SweptRun(job, "", None, None, state, None if state == "missing" else record)


def by_bowl(jobs, shift=0.0):
    return [ended(job, bowl(rate_of(job)) + shift * ("seed=1" in job.overrides)) for job in jobs]


def test_each_model_has_as_many_rates_for_each_seed():
    sweep = sweep_of()
    search = Search(sweep, SweeperConfig("optuna", trials=2))
    runs = by_bowl(sweep.jobs, shift=0.1)
    for _ in range(2):
        jobs = search.propose(runs)
        assert [[text for text in job.overrides if text[:5] != "optim"] for job in jobs] == [
            ["seed=0", "model=fsn"],
            ["seed=1", "model=fsn"],
            ["seed=0", "model=osn"],
            ["seed=1", "model=osn"],
        ]
        assert rate_of(jobs[0]) == rate_of(jobs[1]) not in GRID
        runs += by_bowl(jobs, shift=0.1)
    assert search.propose(runs) == []
    tried = search.losses(runs, "model=fsn")
    best = min(tried, key=tried.get)
    assert tried[best] == pytest.approx(bowl(best) + 0.05), "the mean over seeds"
    said = search.outcome(runs).splitlines()
    assert (
        said[0]
        == f"  model=fsn: optim.lr={best:g} is best of 6, {tried[best]:.4f} bits per byte; 2 rates beside the grid's"
    )


def test_a_model_whose_runs_are_not_over_waits_alone():
    sweep = sweep_of(seeds=(0,))
    search = Search(sweep, SweeperConfig("optuna", trials=2))
    runs = by_bowl(sweep.jobs)
    runs[2] = ended(runs[2].job, None, "interrupted")
    assert {job.overrides[1] for job in search.propose(runs)} == {"model=osn"}
    assert "0 of 2 rates beside the grid's are proposed, not all runs are done" in search.outcome(runs)
    # What was not even started says nothing of its rate, though the sweep calls it failed.
    runs[2] = ended(runs[2].job, None, "missing")
    runs[2].state = "failed"
    assert {job.overrides[1] for job in search.propose(runs)} == {"model=osn"}
    runs[2] = ended(runs[2].job, None, "failed")
    assert {job.overrides[1] for job in search.propose(runs)} == {"model=fsn", "model=osn"}
    everything = [ended(run.job, None, "failed") for run in runs]
    assert search.propose(everything) == [] and "nothing to go on from" in search.outcome(everything)


def test_rows_are_searched_one_by_one():
    sweep = sweep_of(models=("osn",), seeds=(0,))
    sweep.axes = ["optim.lr"]
    sweep.jobs = [
        Job((*job.overrides, *more), row) for row, more in (("a", ()), ("b", ("model.lag=0",))) for job in sweep.jobs
    ]
    jobs = Search(sweep, SweeperConfig("optuna", trials=1)).propose(by_bowl(sweep.jobs))
    assert [job.row for job in jobs] == ["a", "b"] and "model.lag=0" in jobs[1].overrides


@pytest.fixture
def searched(tmp_path, monkeypatch, overrides, in_this_process):
    """`searched(*arguments)`: exit code of a search of two rates more, of runs of 6 steps."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/mine.yaml").write_text("title: Mine\ngrid: {seed: [0], optim.lr: [0.002, 0.01]}\n")
    monkeypatch.setattr(sweeps, "FOLDER", tmp_path / "sweeps")
    common = [text for text in overrides if not text.startswith(("run_dir=", "optim.lr="))]
    arguments = ["+sweeps=mine", *common, "trainer.max_steps=6", f"runs={tmp_path / 'runs'}", "sweeper=optuna"]
    return lambda *more: conduct(requested([*arguments, "sweeper.trials=2", *more]))


def test_a_search_of_real_runs_stops_and_goes_on(searched, tmp_path, capsys):
    assert searched() == 0
    said = capsys.readouterr().out
    assert said.count("Optuna proposes seed=0 optim.lr=") == 2 and "is best of 4" in said
    runs = {load_record(folder).config["optim"]["lr"]: folder for folder in (tmp_path / "runs").glob("transformer*")}
    assert len(runs) == 4
    last = said.rpartition("Optuna proposes seed=0 optim.lr=")[2].split()[0]
    shutil.rmtree(runs[float(last)])

    assert searched("status=true") == 0
    said = capsys.readouterr().out
    assert "4 runs: 3 done, 1 missing" in said and f"missing  seed=0 optim.lr={last}" in said
    assert "2 of 2 rates beside the grid's are proposed, not all runs are done" in said
    assert searched() == 0
    said = capsys.readouterr().out
    assert said.count("done before: ") == 3 and f"Optuna proposes seed=0 optim.lr={last}" in said
    assert len(list((tmp_path / "runs").glob("transformer*"))) == 4


def test_mistakes_are_one_line_before_any_run(searched, tmp_path, monkeypatch):
    for arguments, words in (
        (["sweeper=optunna"], "sweeper=optunna: legal values are grid, optuna; type sweeper=optuna"),
        (["sweeper.trails=3"], "unknown key 'sweeper.trails': the nearest is 'sweeper.trials'; type sweeper.trials=3"),
        (["sweeper.trials=few"], "sweeper.trials=few: takes a whole number"),
        (["sweeper.trials=["], r"sweeper.trials=\[: cannot be read; type for example sweeper.trials=4"),
        (["sweeper.trials=0"], "for the grid alone type sweeper=grid"),
        (["sweeper.seed=-1"], r"a seed is between 0 and 2\*\*32 - 1"),
        (["sweeper.seed=4294967296"], "a seed is between"),
        (["sweeper=grid"], "sweeper.trials=2: a grid takes no such key"),
    ):
        with pytest.raises(UserError, match=words):
            searched(*arguments)
    with pytest.raises(UserError, match=r"searches optim.lr, in which the runs of mine do not differ"):
        Search(Sweep("mine", "cpu", "Mine", [Job(("seed=0",))], ["seed"]), SweeperConfig("optuna", 1))
    with pytest.raises(UserError, match=r"optim.lr=fast: is not a positive number"):
        rate_of(Job(("optim.lr=fast",)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sweeper=optuna is not installed: type .* -e '.\[optuna\]'"):
        searched()
    assert not (tmp_path / "runs").exists()
