"""A sweep can be stopped and started at any time, and one failure does not stop the others."""

import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs import sweeps
from configs.errors import UserError
from configs.sweeps import expand, requested
from results.compare import compare_finished
from training.processes.launcher import Place
from training.run_record.record import load_record
from training.run_record.run_directory import claimed
from training.sweeps.own_process import OwnProcesses
from training.sweeps.ray_launcher import RayLauncherConfig
from training.sweeps.submitit_launcher import launch_with_submitit
from training.sweeps.sweep import by_one_process, conduct, time_left
from training.sweeps.swept_run import look


@pytest.fixture
def swept(tmp_path, monkeypatch, overrides):
    """`swept(*arguments)`: exit code of `+sweeps=mine` with them: two seeds of a run of 6 steps."""
    mine = tmp_path / "sweeps"
    mine.mkdir()
    (mine / "mine.yaml").write_text("title: Mine\ngrid: {seed: [0, 1]}\n")
    monkeypatch.setattr(sweeps, "FOLDER", mine)
    common = [text for text in overrides if not text.startswith("run_dir=")]
    arguments = ["+sweeps=mine", *common, "trainer.max_steps=6", f"runs={tmp_path / 'runs'}"]
    return lambda *more: conduct(requested([*arguments, *more]))


@pytest.fixture
def sweep(swept, in_this_process):
    """`swept`, quickly."""
    return swept


def records(tmp_path):
    return {record.seed: record for record in map(load_record, (tmp_path / "runs").glob("transformer*"))}


def test_what_is_done_is_skipped_and_what_is_left_is_told(sweep, tmp_path, capsys):
    assert sweep("seed=0") == 0
    assert "1 run: 1 done" in capsys.readouterr().out
    assert sweep("status=true") == 0
    said = capsys.readouterr().out
    assert "2 runs: 1 done, 1 missing, about 0:00:0" in said and "by 1 finished run" in said
    assert "done     seed=0" in said and "missing  seed=1" in said
    assert list(records(tmp_path)) == [0]

    first = next((tmp_path / "runs").glob("*seed0*")) / "record.json"
    before = first.stat().st_mtime_ns
    assert sweep() == 0
    said = capsys.readouterr().out
    assert "done before: seed=0" in said and "2 runs: 2 done" in said
    assert first.stat().st_mtime_ns == before
    assert {seed: record.status for seed, record in records(tmp_path).items()} == {0: "done", 1: "done"}


def test_one_failure_does_not_stop_the_others(sweep, tmp_path, capsys):
    # Seed 0 is in a directory that another run of another config holds: a user's mistake inside one run.
    assert sweep("seed=0") == 0
    record = next((tmp_path / "runs").glob("*seed0*")) / "record.json"
    record.write_text(
        record.read_text()
        .replace('"status": "done"', '"status": "interrupted"', 1)
        .replace('"lr": 0.005', '"lr": 0.5', 1)
    )
    assert sweep() == 1
    output = capsys.readouterr()
    assert "failed: seed=0: " in output.err and "holds a run of another config: optim.lr is 0.5 there" in output.err
    assert records(tmp_path)[1].status == "done"


def test_a_run_that_failed_is_tried_again_only_when_asked(sweep, tmp_path, capsys):
    assert sweep("optim.lr=1e30", "optim.warmup_steps=0") == 1
    said = capsys.readouterr()
    assert said.err.count("failed: seed=") == 2 and "smaller optim.lr" in said.err
    assert sweep("optim.lr=1e30", "optim.warmup_steps=0") == 1
    said = capsys.readouterr().out
    assert said.count("retry_failed=true tries again") == 2 and "2 failed" in said
    assert "model " not in said, "nothing was run"
    assert sweep("optim.lr=1e30", "optim.warmup_steps=0", "retry_failed=true") == 1
    assert capsys.readouterr().err.count("failed: seed=") == 2


def test_an_interrupted_sweep_goes_on_where_it_was(sweep, tmp_path, monkeypatch, capsys):
    from training.meter import Meter

    measure = Meter.measure

    def interrupt(self, trainer, *counts):
        row = measure(self, trainer, *counts)
        if trainer.global_step == 3:
            signal.raise_signal(signal.SIGTERM)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "measure", interrupt)
        with pytest.raises(SystemExit) as stop:
            sweep()
    assert stop.value.code == 143
    assert records(tmp_path)[0].status == "interrupted" and 1 not in records(tmp_path)
    assert sweep() == 0
    assert "resuming from step 3 of 6" in capsys.readouterr().out


def test_a_run_that_another_process_has_is_left_alone(sweep, tmp_path, capsys):
    assert sweep("seed=0") == 0
    record = next((tmp_path / "runs").glob("*seed0*")) / "record.json"
    record.write_text(record.read_text().replace('"status": "done"', '"status": "running"', 1))
    with claimed(record.parent, overwrite=False):
        assert sweep() == 0
    assert "left alone, another process has it: seed=0" in capsys.readouterr().out
    assert sweep("status=true") == 0
    assert "interrupted  seed=0" in capsys.readouterr().out


def test_a_run_that_another_process_took_meanwhile_did_not_fail(sweep, tmp_path, monkeypatch, capsys):
    from training.sweeps import sweep as module

    assert sweep("seed=0") == 0
    record = next((tmp_path / "runs").glob("*seed0*")) / "record.json"
    record.write_text(record.read_text().replace('"status": "done"', '"status": "running"', 1))
    launch = module.launch

    def late(configs, launcher):
        with claimed(record.parent, overwrite=False):
            return launch(configs, launcher)

    monkeypatch.setattr(module, "launch", late)
    looked = module.look
    taken = []

    def look_again(*arguments):
        runs = looked(*arguments)
        for run in runs:
            if taken and run.folder == record.parent:
                run.state = "running"
        taken.append(True)
        return runs

    monkeypatch.setattr(module, "look", look_again)
    capsys.readouterr()
    assert sweep() == 0
    said = capsys.readouterr()
    assert "left alone, another process took it: seed=0" in said.out and "failed" not in said.err


def test_a_run_that_another_process_takes_before_it_has_a_record_did_not_fail(sweep, tmp_path, monkeypatch, capsys):
    """Nor has it later, when that process was killed: the same command makes it."""
    from training.sweeps import sweep as module

    assert sweep("seed=0", "status=true") == 0
    folder = Path(capsys.readouterr().out.split()[-1])
    launch = module.launch

    def late(configs, launcher):
        with claimed(folder, overwrite=False):
            return launch(configs, launcher)

    with monkeypatch.context() as patch:
        patch.setattr(module, "launch", late)
        assert sweep("seed=0") == 1
    assert "another process is using the run directory" in capsys.readouterr().err
    assert sweep("seed=0") == 0
    assert "1 run: 1 done" in capsys.readouterr().out


def test_a_run_that_fails_before_it_has_a_record_has_failed(sweep, tmp_path, capsys):
    long = "data.context=100000000"  # longer than the corpus, which is known only when the run has opened it
    assert sweep("seed=0", long) == 1
    capsys.readouterr()
    assert sweep("seed=0", long, "status=true") == 0
    said = capsys.readouterr().out
    (why,) = (tmp_path / "runs").glob("*/failed.txt")
    error = why.read_text().strip()
    assert "1 run: 1 failed" in said and "1000000" in error and error in said
    assert sweep("seed=0", long) == 1
    assert "failed before: seed=0: " in (said := capsys.readouterr().out) and "retry_failed=true" in said
    why.write_text("of another day")
    assert sweep("seed=0", long, "retry_failed=true") == 1
    assert why.read_text().strip() == error


def test_a_damaged_record_is_not_tried_again_but_named(sweep, tmp_path, capsys):
    assert sweep("seed=0") == 0
    record = next((tmp_path / "runs").glob("*seed0*")) / "record.json"
    record.write_text("{")
    capsys.readouterr()
    assert sweep("retry_failed=true") == 1
    said = capsys.readouterr().out
    assert f"delete {record.parent} to make the run again" in said and "2 runs: 1 done, 1 failed" in said


def test_mistakes_come_before_any_run(sweep, tmp_path):
    for arguments, words in (
        (["trainer.max_stpes=3"], "the nearest is 'trainer.max_steps'"),
        (["seed=0,0"], "seed=0 and seed=0 are one and the same run"),
        (["data.path=nowhere.txt"], "nowhere.txt"),
        (["launcher=slrum", "status=true"], "launcher=slrum: legal values are .*slurm.*; type launcher=slurm"),
        (["launcher=jobblib", "plan=true"], "type launcher=joblib"),
        (["launcher=joblib", "hydra.launcher.n_job=1"], "hydra.launcher.n_job=1: .*n_job"),
        (["launcher=joblib", "hydra.launcher.n_jobs=0"], "n_jobs == 0 .*; type for example hydra.launcher.n_jobs=2"),
        (["launcher=null"], "launcher=null: legal values are .*; type launcher="),
        (["sweeper=null"], "sweeper=null: legal values are grid, optuna; type sweeper=grid"),
        (["hydra/launcher=null"], r"hydra/launcher=null: is chosen by launcher=joblib\|local\|.*; type launcher="),
        (["hydra/launcher=joblib"], "type launcher=joblib"),
        (["+hydra/sweeper=optuna"], "type sweeper=optuna"),
        (["hydra.launcher=null"], "hydra.launcher=null: .* takes those of a launcher, hydra.launcher.KEY; leave it"),
        (["hydra.sweeper.max_batch_size=1"], "leave it out"),
        (["hydra=null"], "leave it out"),
        (["hydra.launcher.n_jobs=many", "launcher=joblib"], "n_jobs=many .*'many' .*could not be converted to Integer"),
        (["optim.lr=interval(0,1)"], "takes values one by one; type optim.lr=0.001,0.002"),
        (["overwrite=true"], "belongs to one run"),
    ):
        with pytest.raises(UserError, match=words):
            sweep(*arguments)
    assert not list((tmp_path / "runs").glob("transformer*"))


@pytest.mark.parametrize(
    ("launcher", "key"), [("joblib", "n_jobs=2"), ("ray", "num_cpus=2"), ("slurm_local", "timeout_min=30")]
)
def test_launchers(swept, tmp_path, launcher, key):
    """Side by side, in processes of their own, each with a key of its own."""
    try:
        assert swept(f"launcher={launcher}", f"hydra.launcher.{key}") == 0
    except UserError as error:
        if "Ray did not start" not in str(error):
            raise
        pytest.skip(f"Ray gives its own processes half a minute to start, too little here: {error}")
    assert {seed: record.status for seed, record in records(tmp_path).items()} == {0: "done", 1: "done"}


@pytest.fixture
def many(tmp_path, overrides, in_this_process):
    """`many(*arguments)`: exit code of `-m` with them, of runs of 6 steps."""
    common = [text for text in overrides if not text.startswith("run_dir=")]
    arguments = [*common, "trainer.max_steps=6", f"runs={tmp_path / 'runs'}"]
    return lambda *more: conduct(requested([*arguments, *more, "-m"]))


def test_a_run_of_m_that_diverges_stops_no_other_and_is_named(many, tmp_path, capsys):
    arguments = ("optim.lr=1e30,0.005", "optim.warmup_steps=0")
    assert many(*arguments) == 1
    said = capsys.readouterr()
    assert said.err.count("failed: ") == 1 and "failed: optim.lr=1e+30: " in said.err and "smaller optim.lr" in said.err
    all_records = map(load_record, (tmp_path / "runs").glob("transformer*"))
    (done,) = [record for record in all_records if record.status == "done"]
    row = next(line for line in said.out.splitlines() if line.startswith("done    optim.lr=0.005"))
    assert f"{done.final['bits_per_byte']:.4f}" in row and str(tmp_path / "runs" / "transformer") in row
    assert many(*arguments) == 1, "as a sweep does it"
    said = capsys.readouterr()
    assert "done before: optim.lr=0.005" in said.out and "retry_failed=true tries again" in said.out
    assert many(*arguments, "status=true") == 0
    assert "failed: optim.lr=1e+30: " in capsys.readouterr().out


def test_a_sweep_ends_with_the_table_of_the_runs_that_finished(tmp_path, overrides, in_this_process, capsys):
    """Also where another one failed; once, and not where the sweep is only looked at."""
    common = [text for text in overrides if not text.startswith("run_dir=")]
    asked = ["-m", *common, "trainer.max_steps=6", f"runs={tmp_path / 'runs'}", "optim.warmup_steps=0"]
    asked.append("optim.lr=1e30,0.005")
    assert conduct(requested(asked), at_end=compare_finished) == 1
    said = capsys.readouterr().out
    (done,) = [record for record in map(load_record, (tmp_path / "runs").glob("transformer*")) if record.final]
    assert said.count("as python -m results.compare shows them") == said.count("| model") == 1
    row = next(line for line in said.splitlines() if line.startswith("| transformer"))
    assert f"{done.final['bits_per_byte']:.4f} ±" in row
    assert conduct(requested([*asked, "status=true"]), at_end=compare_finished) == 0
    assert "results.compare" not in capsys.readouterr().out


def test_data_that_are_not_there_fail_their_own_runs_alone(many, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SYNCHRONY_CACHE", str(tmp_path / "cache"))
    whole = tmp_path / "whole.txt"
    whole.write_bytes(b"phases lock and drift " * 200)
    assert many(f"data.path={whole},{tmp_path / 'absent.txt'}") == 1
    said = capsys.readouterr()
    assert said.err.count("failed: ") == 1 and "absent.txt does not exist" in said.err
    assert [record.status for record in map(load_record, (tmp_path / "runs").glob("transformer*"))] == ["done"]
    with pytest.raises(UserError, match=r"absent too\.txt does not exist"):
        many(f"data.path={tmp_path / 'absent.txt'},{tmp_path / 'absent too.txt'}")


def test_under_a_launcher_one_process_conducts_and_runs_have_as_many(monkeypatch, swept):
    request = requested(["+sweeps=mine", "seed=0"])
    place = Place("torchrun", 0, 4, 0, 4)
    for rank, expected in ((0, ["seed=0", "trainer.devices=4"]), (1, None)):
        monkeypatch.setattr("training.sweeps.sweep.recognised", lambda _, rank=rank: replace(place, rank=rank))
        conducted = by_one_process(request)
        assert (conducted and conducted.overrides) == expected
    assert conduct(request) == 0, "rank 1 leaves it to rank 0"
    with pytest.raises(UserError, match=r"trainer\.devices=2, but torchrun started 4 .* type trainer\.devices=4"):
        by_one_process(replace(request, overrides=["trainer.devices=2"]))
    monkeypatch.setattr("training.sweeps.sweep.recognised", lambda _: replace(place, size=8, nodes=2))
    with pytest.raises(UserError, match=r"started it on 2; .* trainer\.devices=4"):
        by_one_process(request)
    monkeypatch.setenv("RANK", "0")
    with OwnProcesses() as processes:
        assert "RANK" not in processes._environment


def test_m_refuses_what_cannot_be_before_any_run(many, tmp_path):
    for arguments, words in (
        (["seed=0,0"], "seed=0 and seed=0 are one and the same run: leave one out"),
        (["trainer.max_epochs=30,5"], "trainer.max_epochs=30 and trainer.max_epochs=5 are one and the same run"),
        (["seed=0,1", f"run_dir={tmp_path / 'x'}"], "seed=0 and seed=1 would both be in run_dir=.*x; type runs=FOLDER"),
        (["seed=0,1", "optim.lr=interval(0,1)"], "takes values one by one"),
        (["seed=0,1", "profile=smoke"], "profile=smoke: belongs to a sweep of sweeps/"),
        (["seed=0,1", "stauts=true"], "type status=true"),
        (["seed=0,1", "overwrite=true"], "overwrite=true: belongs to one run"),
        (["seed=0,1", "hydra/launcher=joblib"], "type launcher=joblib"),
        (["model=fsn,transformer", "model.harmonics=1,2"], "this model has no key 'model.harmonics'"),
    ):
        with pytest.raises(UserError, match=words):
            many(*arguments)
    assert not list((tmp_path / "runs").glob("*"))


def test_shares_that_ray_cannot_hand_out():
    for given, words in (
        ((2, 3, 0.0), "cpus_per_run=3: legal is 1 to hydra.launcher.num_cpus, 2"),
        ((2, 1, 1.5), "gpus_per_run=1.5: legal is a share of one GPU, or whole ones"),
    ):
        with pytest.raises(UserError, match=words):
            RayLauncherConfig(*given).check()


def test_a_launcher_that_is_not_installed(sweep, monkeypatch):
    monkeypatch.setattr("training.sweeps.launch.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"launcher=slurm is not installed: type .*pip install .*\[slurm\]"):
        sweep("launcher=slurm")


def test_time_left_is_in_proportion(sweep, tmp_path, overrides):
    assert sweep("seed=0") == 0
    common = [text for text in overrides if not text.startswith("run_dir=")]
    given = [*common, "trainer.max_steps=6", f"runs={tmp_path / 'runs'}"]
    jobs = expand("mine", "cpu", [*given, "seed=0,1,2"])
    runs = look(jobs.jobs, jobs.axes)
    runs[0].record.throughput.seconds = 10.0
    assert time_left(runs) == pytest.approx(20.0)
    runs[1].record, runs[1].state = runs[0].record, "interrupted"
    assert time_left(runs) == pytest.approx(10.0)
    assert time_left(runs[2:]) is None


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux alone has it")
def test_a_second_signal_reaches_the_jobs_of_submitit(tmp_path, monkeypatch):
    """It ends the conductor at once, and no job may train on that nobody waits for."""
    import submitit

    job = os.fork()
    if job == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pause()
    (told, tell), waits = os.pipe(), []

    def done():
        if not waits:
            waits.append(True)  # first: the handler of the second signal asks too
            os.write(tell, b"waits\n")
            while True:  # in no call that lasts: a signal that comes just before one would wait for its end
                time.sleep(0.01)
        return False

    class Executor:
        def __init__(self, *_, **__):
            self.update_parameters = lambda **_: None
            self.map_array = lambda *_: [SimpleNamespace(done=done, job_id=str(job))]

    conductor = os.fork()
    if conductor == 0:
        try:
            monkeypatch.setattr(submitit, "AutoExecutor", Executor)
            monkeypatch.setattr(sys, "stderr", os.fdopen(tell, "w", buffering=1))
            launch_with_submitit("local", [], "", {"submitit_folder": str(tmp_path)})
        finally:
            os._exit(99)
    try:
        os.close(tell)
        with os.fdopen(told) as said:
            assert said.readline() == "waits\n"
            os.kill(conductor, signal.SIGINT)
            assert said.readline() == "\n" and "once more to stop at once" in said.readline()
            os.kill(conductor, signal.SIGINT)
        assert os.waitstatus_to_exitcode(os.waitpid(conductor, 0)[1]) == 130
        assert select.select([os.pidfd_open(job)], [], [], 60)[0], "the job goes on"
        assert os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]) == -signal.SIGTERM
    finally:
        for pid in (conductor, job):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
