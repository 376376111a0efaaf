"""What goes wrong while a run trains: it stops with one line, and the last good checkpoint is there to go on from."""

import datetime
import itertools
import json
import os
import resource
import time
import types
from pathlib import Path

import pytest
import torch

import training.run
from configs.errors import UserError
from training.meter import Meter
from training.processes.children import Children
from training.run import run
from training.run_record.checkpoints import newest_whole, read_checkpoint
from training.run_record.record import load_record


def after_step(monkeypatch, step, act):
    """Call act(module) when `step` has been measured."""
    measure = Meter.measure

    def measure_and_act(self, trainer, module, batch):
        row = measure(self, trainer, module, batch)
        if trainer.global_step == step:
            act(module)
        return row

    monkeypatch.setattr(Meter, "measure", measure_and_act)


def poison(module):
    with torch.no_grad():
        module.model.embedding.weight[0] = float("nan")
        module.model.embedding.weight[ord("e")] = float("nan")


@pytest.fixture
def small_files():
    """Called with True: files of this process may not grow beyond 100 kB (a checkpoint takes 600). False: undone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda small: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if small else soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_whole_checkpoint(
    make_config, tmp_path, monkeypatch, small_files, uninterrupted, same_weights
):
    with monkeypatch.context() as patch:
        after_step(patch, 12, lambda module: small_files(True))
        with pytest.raises(UserError) as error:
            run(make_config())
    message = str(error.value)
    assert "\n" not in message
    assert str(tmp_path / "run" / "checkpoints" / "new.tmp") in message and "File too large" in message
    assert f"{tmp_path / 'run' / 'checkpoints' / 'last.ckpt'} (step 7)" in message
    record = load_record(tmp_path / "run")
    assert record.status == "failed" and "File too large" in record.error

    small_files(False)
    run(make_config())
    same_weights(tmp_path / "run", uninterrupted())


@pytest.mark.parametrize("name", ["metrics.jsonl", "record.json"])
def test_a_full_disk_under_the_record_is_one_line_too(
    make_config, tmp_path, monkeypatch, uninterrupted, same_weights, name
):
    def full_for(call, argument):
        def full(*arguments, **options):
            if Path(str(arguments[argument])).name == name:
                raise OSError(28, "No space left on device")
            return call(*arguments, **options)

        return full

    def fill(module):
        patch.setattr("builtins.open", full_for(open, 0))
        patch.setattr("os.replace", full_for(os.replace, 1))

    with monkeypatch.context() as patch:
        after_step(patch, 12, fill)
        with pytest.raises(UserError, match=f"cannot write .*{name}: No space left on device; the last whole") as error:
            run(make_config())
    assert "\n" not in str(error.value)
    assert read_checkpoint(newest_whole(tmp_path / "run"))["global_step"] >= 7
    run(make_config())
    same_weights(tmp_path / "run", uninterrupted())


def test_a_loss_that_is_not_finite_is_found_before_a_checkpoint(
    make_config, tmp_path, monkeypatch, uninterrupted, same_weights
):
    """No row is due before step 30; the checkpoint of step 14 is not written, and the step is the right one."""
    with monkeypatch.context() as patch:
        after_step(patch, 11, poison)
        with pytest.raises(UserError, match="training loss became nan at step 12"):
            run(make_config("trainer.log_every=30"))
    record = load_record(tmp_path / "run")
    assert record.status == "failed" and "step 12" in record.error
    newest = newest_whole(tmp_path / "run")
    assert read_checkpoint(newest)["global_step"] == 7
    assert all(torch.isfinite(value).all() for value in read_checkpoint(newest)["state_dict"].values())

    run(make_config())  # the cause is gone
    same_weights(tmp_path / "run", uninterrupted())


def test_weights_that_are_not_finite_are_never_saved(make_config, tmp_path, monkeypatch):
    after_step(monkeypatch, 14, poison)
    with pytest.raises(UserError, match=r"model.embedding.weight is not finite after step 14"):
        run(make_config())
    assert read_checkpoint(newest_whole(tmp_path / "run"))["global_step"] == 7


def test_a_gradient_that_is_not_finite_is_named(make_config, monkeypatch):
    from training.step import TrainingModule

    clip = TrainingModule.configure_gradient_clipping

    def explode(self, *arguments, **options):
        if self.trainer.global_step == 4:
            self.model.embedding.weight.grad[0, 0] = float("inf")
        clip(self, *arguments, **options)

    monkeypatch.setattr(TrainingModule, "configure_gradient_clipping", explode)
    with pytest.raises(UserError, match="gradient norm became inf at step 5"):
        run(make_config())


def test_a_learning_rate_that_is_far_too_large_ends_in_one_line(make_config, tmp_path):
    with pytest.raises(UserError, match=r"(training loss|gradient norm|is not finite).*smaller optim.lr"):
        run(make_config("optim.lr=1e30", "optim.warmup_steps=0"))
    assert load_record(tmp_path / "run").status == "failed"


def test_a_bug_is_recorded_and_not_hidden(make_config, tmp_path, monkeypatch):
    def bug(module):
        raise ZeroDivisionError("a bug")

    after_step(monkeypatch, 9, bug)
    with pytest.raises(ZeroDivisionError):
        run(make_config())
    assert (load_record(tmp_path / "run").status, load_record(tmp_path / "run").error) == (
        "failed",
        "ZeroDivisionError: a bug",
    )


def test_a_checkpoint_of_another_run_is_refused(make_config, tmp_path, uninterrupted):
    other = read_checkpoint(uninterrupted() / "checkpoints" / "last.ckpt")
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()  # else it would be a folder of somebody else
    other["config"]["seed"] = 5
    torch.save(other, folder / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt belongs to another run: seed is 5 there and 0 here"):
        run(make_config())
    run(make_config("overwrite=true", "trainer.max_steps=2"))
    assert (tmp_path / "run-old-1" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        (
            "state_dict",
            {"model.embedding.weight": torch.zeros(9, 9)},
            "holds the weights of another model than its config",
        ),
        ("optimizer_states", [], "lacks the state of the optimizer"),
    ],
)
def test_a_checkpoint_with_other_content_than_its_config_is_refused(
    part, value, says, make_config, tmp_path, uninterrupted
):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    torch.save(read_checkpoint(uninterrupted() / "checkpoints" / "last.ckpt") | {part: value}, folder / "last.ckpt")
    with pytest.raises(UserError, match=rf"last.ckpt {says}") as error:
        run(make_config())
    assert "\n" not in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"], "it is whole, and may belong to another run"


def test_a_record_that_is_damaged_is_named(make_config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text('{"config": {')
    with pytest.raises(UserError, match=r"cannot read the run record .*record\.json"):
        run(make_config())


def test_the_line_of_metrics_that_a_crash_cut_off_is_dropped(make_config, tmp_path, monkeypatch, uninterrupted):
    def tear(module):
        with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
            file.write('{"step": 8, "epo')
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        after_step(patch, 9, tear)
        with pytest.raises(ZeroDivisionError):
            run(make_config())
    run(make_config())
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [row["step"] for row in load_record(uninterrupted()).metrics]


def test_a_failure_of_the_main_process_ends_the_others(make_config, monkeypatch):
    """In a distributed run they would wait for it in a collective for ever."""
    ended = []
    monkeypatch.setattr(Children, "kill", lambda self: ended.append(True))
    monkeypatch.setattr(training.run, "make_trainer", lambda plan, loop: types.SimpleNamespace())
    with pytest.raises(AttributeError, match="fit"):
        training.run.run(make_config())
    assert ended


def test_a_clock_that_jumps_back_changes_nothing(make_config, tmp_path, monkeypatch, uninterrupted, same_weights):
    """Each look at the clock is a day before the last one; durations are taken from another, that cannot be set."""
    days = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1e9 - 86400 * next(days))
        patch.setattr("training.run_record.record.datetime", Backwards)
        patch.setattr(Meter, "measure", raise_after(11))
        with pytest.raises(ZeroDivisionError):
            run(make_config())
        patch.setattr(Meter, "measure", raise_after(99))
        record = run(make_config())
    same_weights(tmp_path / "run", uninterrupted())
    assert load_record(tmp_path / "run") == record and record.finished < record.started
    assert [row["step"] for row in record.metrics] == [row["step"] for row in load_record(uninterrupted()).metrics]
    assert record.throughput.seconds > 0 and all(row["tokens_per_second"] > 0 for row in record.rows("train"))


class Backwards(datetime.datetime):
    days = itertools.count()

    @classmethod
    def now(cls, zone=None):
        return datetime.datetime(2020, 1, 1, tzinfo=zone) - datetime.timedelta(days=next(cls.days))


def raise_after(step, measure=Meter.measure):
    def measure_or_raise(self, trainer, *rest):
        return 1 / 0 if trainer.global_step == step else measure(self, trainer, *rest)

    return measure_or_raise
