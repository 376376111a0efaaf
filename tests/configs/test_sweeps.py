"""Every sweep that is shipped composes in every profile; a command line has the last word; mistakes are one line."""

from pathlib import Path

import pytest

from configs import sweeps
from configs.compose import compose, config_hash
from configs.errors import UserError
from configs.sweeps import PROFILES, Job, expand, names, requested
from training.budget import resolve_shape
from training.sweeps.swept_run import configured_jobs


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write sweeps/mine.yaml into a folder of its own."""
    monkeypatch.setattr(sweeps, "FOLDER", tmp_path)
    return (tmp_path / "mine.yaml").write_text


SWEEP = """# What it is.
#
# Cost: nothing.
title: Mine
set: {scale: smoke, trainer.max_steps: 3, trainer.max_epochs: null, data.split: [0.8, 0.1, 0.1]}
grid: {seed: [0, 1], model: [fsn, transformer]}
profiles:
  cpu: {set: {trainer.max_steps: 9}}
  paper: {grid: {seed: [0]}, rows: {one: {optim.lr: 1e-3}, two: {optim.lr: 2e-3, compile: true}}}
"""


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", names())
def test_every_sweep_composes(name: str, profile: str) -> None:
    sweep = expand(name, profile)
    assert sweep.title and "python train.py +sweeps=" + name in sweep.header
    for part in ("cost", "expected"):
        assert part in sweep.header.lower()
    configs = [config for _, config in configured_jobs(sweep.jobs)]
    assert len({config_hash(config) for config in configs}) == len(configs)
    assert len(configs) > 1
    assert (
        sweep.baseline
        in {str(name) for config, job in zip(configs, sweep.jobs, strict=True) for name in (job.row, config.model.name)}
        or not configs
    )


def test_runs_that_differ_in_their_seed_alone_are_composed_once_and_rightly() -> None:
    jobs = [
        Job((f"model={model}", f"seed={seed}", "scale=smoke")) for seed in ("0", "3", "1e1") for model in ("fsn", "osn")
    ]
    for job, config in configured_jobs(jobs[:4]):
        assert config == resolve_shape(compose("train", job.overrides), 256)
    with pytest.raises(UserError, match="seed"):
        configured_jobs(jobs)


def test_a_grid_with_its_first_axis_slowest(written) -> None:
    written(SWEEP)
    sweep = expand("mine", "smoke")
    common = ("scale=smoke", "trainer.max_steps=3", "trainer.max_epochs=null", "data.split=[0.8,0.1,0.1]")
    assert [job.overrides for job in sweep.jobs] == [
        (*common, f"seed={seed}", f"model={model}") for seed in (0, 1) for model in ("fsn", "transformer")
    ]
    assert (sweep.title, sweep.axes, sweep.header) == ("Mine", ["seed", "model"], "What it is.\n\nCost: nothing.")
    assert "trainer.max_steps=9" in expand("mine", "cpu").jobs[0].overrides


def test_rows_are_sets_of_overrides(written) -> None:
    written(SWEEP)
    jobs = expand("mine", "paper").jobs
    assert [job.row for job in jobs] == ["one", "two"] * 2
    assert jobs[1].overrides[-2:] == ("optim.lr=0.002", "compile=true")


def test_the_command_line_has_the_last_word(written) -> None:
    written(SWEEP)
    jobs = expand("mine", "cpu", ["seed=5", "model=osn,fsn", "trainer.max_steps=2", "optim.lr=0.1"]).jobs
    assert len(jobs) == 2
    for job, model in zip(jobs, ("osn", "fsn"), strict=True):
        assert {"seed=5", f"model={model}", "optim.lr=0.1", "trainer.max_steps=2"} <= set(job.overrides)
    assert len(expand("mine", "cpu", ["optim.lr=0.1,0.2"]).jobs) == 8
    with pytest.raises(UserError, match=r"optim.lr=3: the rows of the sweep mine differ in optim.lr"):
        expand("mine", "paper", ["optim.lr=3"])


def test_what_a_command_line_asks() -> None:
    assert requested(["model=fsn"]) is None
    assert requested(["task=recall", "data=repeat64"]) is None, "a task of a run, and a sweep of the same name"
    name = names()[0]
    asked = requested(["-m", f"+sweeps={name}", "profile=smoke", "status=true", "launcher=joblib", "seed=1,2"])
    assert asked is not None
    assert (asked.name, asked.profile, asked.status, asked.retry_failed) == (name, "smoke", True, False)
    assert (asked.launcher, asked.overrides) == (["launcher=joblib"], ["seed=1,2"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+sweeps=fsn-enwik"], r"\+sweeps=fsn-enwik: legal values are .*; type \+sweeps=fsn-enwik8"),
        (["+sweeps=fsn-enwik8", "profile=tiny"], "profile=tiny: legal values are smoke, cpu, paper"),
        (["+sweeps=fsn-enwik8", "status=yes"], "status=yes: legal values are true, false"),
        (["+sweeps=fsn-enwik8", "stauts=true"], "unknown key 'stauts': the nearest is 'status'; type status=true"),
        (["+sweep=fsn-enwik8"], r"unknown key .sweep.: the nearest is .\+sweeps.; type \+sweeps=fsn-enwik8"),
        (["+sweeps=fsn-enwik8", "sweepr.trials=3"], "the nearest is 'sweeper.trials'; type sweeper.trials=3"),
        (["+sweeps=fsn-enwik8", "sweper=optuna"], "the nearest is 'sweeper'; type sweeper=optuna"),
        (["+sweeps=fsn-enwik8", "run_dir=x"], "run_dir=x: belongs to one run"),
        (["+sweeps=fsn-enwik8", "--cfg=job"], "--cfg=job: a sweep takes key=value alone"),
        (["+sweeps=fsn-enwik8", "status"], "status: a sweep takes key=value alone"),
    ],
)
def test_mistakes_in_the_command_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        requested(arguments)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("rows: {one: [1]}", "'rows' takes a mapping of keys to values for each row"),
        ("profiles: {cpu: {rows: {one: 3}}}", "'profiles.cpu.rows' takes a mapping"),
        ("rows: {1: {seed: 1}}", "'rows' has a name that is no text"),
        ("grid: {1: [2]}", "'grid' has a name that is no text"),
        ("title: [Mine]", r"'title' is \['Mine'\], not a text"),
        ("&a [*a]", "cannot read the sweep"),
        ("[" * 5000, "cannot read the sweep"),
        ("title: \udcff", "cannot read the sweep .* 'utf-8' codec can't decode byte 0xff"),
    ],
    ids=range(8),
)
def test_damaged_files_are_one_line(content: str, says: str, written) -> None:
    written(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=says):
        expand("mine")


def test_mistakes_in_a_file(written) -> None:
    written("titel: Mine\n")
    with pytest.raises(UserError, match="unknown part 'titel'; legal are title, set, grid, rows, profiles, table"):
        expand("mine")
    written("profiles: {cpu: {seeds: [1]}}\n")
    with pytest.raises(UserError, match=r"unknown part 'profiles.cpu.seeds'; legal are set, grid, rows"):
        expand("mine")
    written("table: {kind: chekpoints}\n")
    with pytest.raises(UserError, match=r"table.kind=chekpoints: legal values are .*; type .*table.kind=checkpoints"):
        expand("mine")
    for broken in ("- a list\n", "title: [", "grid: {seed: 3}\n", "set: nothing\n"):
        written(broken)
        with pytest.raises(UserError, match=r"mine.yaml"):
            expand("mine")


@pytest.mark.parametrize("key", ["profile=cpu", "status=true", "launcher=joblib"])
def test_keys_of_a_sweep_without_one(key: str) -> None:
    with pytest.raises(UserError, match=r"belongs to a sweep .*; type \+sweeps=NAME too"):
        compose("train", [key])
