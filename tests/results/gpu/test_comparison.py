"""The order of trainings, and what they came to so far."""

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.sweeps import Job, expand
from results.gpu.comparison import Training, seconds_left, side_by_side, state, train, trainings


class Pretended(Training):
    """A run of 30 epochs of 10 steps, validated at the end of each."""

    at = 0
    speed = None

    @property
    def losses(self):
        return {step: 3 - step / 1000 - (self.model == "fsn") / 10 for step in range(10, self.at + 1, 10)}

    @property
    def done(self):
        return self.at == self.total

    @property
    def seconds_a_token(self):
        return self.speed


class Pretending:
    """Takes the place of WithinTime: each turn is `steps` long, and only so many turns are made."""

    def __init__(self, runs, turns, code=0):
        self.runs, self.turns, self.code = {run.job.overrides[0]: run for run in runs}, turns, code
        self.made = []

    @property
    def over(self):
        return len(self.made) == self.turns

    def run(self, command, enough):
        run = self.runs[command[2]]
        if self.code:
            self.made.append(run.label)
            return self.code
        while not enough() and run.at < run.total:
            run.at += 10
        self.made.append((run.label, run.at // 10))
        return None if run.at < run.total else 0


@pytest.fixture
def runs():
    return [
        Pretended(f"{model}{seed}", model, seed, Job((f"model={model}{seed}",)), Path("runs/one"), 10, 300, 8)
        for seed in (0, 1)
        for model in ("transformer", "fsn")
    ]


def test_models_take_turns_seed_by_seed(runs):
    time = Pretending(runs, 100)
    train(runs, time)
    turns = [(f"{model}0", epochs) for epochs in (1, 2, 5, 10, 20, 30) for model in ("transformer", "fsn")]
    assert time.made == [*turns, *((label.replace("0", "1"), epochs) for label, epochs in turns)]
    assert state(runs) == "4 of 4 runs, 100% of all steps" and seconds_left(runs) == 0


def test_a_time_that_is_over_leaves_as_many_epochs_of_each(runs):
    train(runs, Pretending(runs, 6))
    runs[0].at += 20  # two epochs beyond
    (row,) = side_by_side(runs)
    assert row == {
        "seed": "0",
        "after": "5 of 30 epochs",
        "transformer": "2.9500",
        "fsn": "2.8500",
        "fsn - transformer": "-0.1000",
    }
    again = Pretending(runs, 2)
    train(runs, again)
    assert again.made == [("transformer0", 10), ("fsn0", 10)], "what a turn has reached is not made again"
    assert seconds_left(runs) is None
    for run in runs:
        run.speed = {"transformer": 0.5, "fsn": 1.0}[run.model]
    assert seconds_left(runs) == 8 * (200 * 0.5 + 200 + 300 * 0.5 + 300)


def test_what_fails_is_left_and_the_others_go_on(runs):
    time = Pretending(runs, 100, code=1)
    train(runs, time)
    assert time.made == [run.label for run in runs] and all(run.failed for run in runs)


def test_runs_without_a_whole_epoch_have_one_turn_and_are_told_in_steps(runs):
    short = Pretended("short", "fsn", 0, Job(()), Path("runs/one"), per_epoch=1000, total=6, tokens=8)
    assert short.turns == [6] and short.told(2) == "2 of 6 steps"
    assert runs[0].turns[:2] == [10, 20] and runs[0].turns[-1] == 300


def test_those_of_the_sweep_and_data_that_is_not_there(tmp_path, text_file, cache_dir):
    settings = ["model=transformer,fsn", "seed=0,1", "trainer=gpu", "data=text", "data.context=16"]
    data = ["data.split=[0.8,0.1,0.1]", f"data.cache_dir={cache_dir}", f"runs={tmp_path}"]
    found = trainings(expand("fsn-enwik8", "paper", [*settings, f"data.path={text_file}", *data]))
    assert [(run.model, run.seed) for run in found] == [(m, s) for s in (0, 1) for m in ("transformer", "fsn")]
    assert {run.total // run.per_epoch for run in found} == {30} and not any(run.done for run in found)
    assert len({run.folder for run in found}) == 4 and found[0].folder.parent == tmp_path
    with pytest.raises(UserError, match=r"none\.txt.*\(with make DATA_PATH=FILE"):
        trainings(expand("fsn-enwik8", "paper", [*settings, "data.path=none.txt", *data]))
