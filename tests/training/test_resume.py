"""Processes that are really killed (SIGKILL), at chosen moments, and resumed: they end with the bits of a whole run.

The process is a fork of this one, so that each kill costs a second and not the start of an interpreter.
"""

import os
import signal

import pytest
import torch

from configs.compose import resolve
from data.atomic_write import TEMPORARY, write_atomically
from training.meter import Meter
from training.run import run
from training.run_record.checkpoints import Checkpoints, newest_whole, read_checkpoint
from training.run_record.record import load_record
from training.run_record.recorder import Recorder
from training.schedule import lr_factor
from training.validation import Validation

TIMING = ("tokens_per_second",)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(config) -> None:
    """Run in a forked process that is expected to be killed."""
    pid = os.fork()
    if pid == 0:
        try:
            run(config)
        finally:
            os._exit(99)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def without_timing(record):
    return [{key: value for key, value in row.items() if key not in TIMING} for row in record.metrics]


def kill_after_step(step):
    """A SIGKILL when the numbers of `step` have been measured, before anything is saved."""

    def arrange(monkeypatch):
        measure = Meter.measure

        def measure_and_die(self, trainer, *rest):
            row = measure(self, trainer, *rest)
            if trainer.global_step == step:
                die()
            return row

        monkeypatch.setattr(Meter, "measure", measure_and_die)

    return arrange


def kill_in_write(room, nth):
    """A SIGKILL in the middle of the n-th file that a module writes: half of its bytes are on the disk."""

    def arrange(monkeypatch):
        seen = []

        def write_half(path, content):
            seen.append(path)
            if len(seen) == nth:
                monkeypatch.setattr(os, "fsync", lambda _: die())
                content = content[: len(content) // 2]
            write_atomically(path, content)

        monkeypatch.setattr(f"training.run_record.{room}.write_atomically", write_half)

    return arrange


def kill_between_the_names(monkeypatch):
    """A SIGKILL when the second checkpoint is written but has not yet taken the name of the first."""
    name = Checkpoints._name

    def die_before_replace(self, new, epoch):
        if (self.folder / "last.ckpt").exists():
            monkeypatch.setattr(os, "replace", lambda *_: die())
        name(self, new, epoch)

    monkeypatch.setattr(Checkpoints, "_name", die_before_replace)


def kill_with_both_names_on_one_file(monkeypatch):
    """A SIGKILL when last.ckpt has also become previous.ckpt and the new checkpoint is still without a name."""
    replace = os.replace

    def die_at_the_last_name(source, target):
        if str(target).endswith("last.ckpt"):
            die()
        replace(source, target)

    monkeypatch.setattr(os, "replace", die_at_the_last_name)


def kill_in_validation(step):
    """A SIGKILL while the weights after `step` are validated."""

    def arrange(monkeypatch):
        row = Validation.row

        def die_in(self, model, at, *rest):
            if at == step:
                die()
            return row(self, model, at, *rest)

        monkeypatch.setattr(Validation, "row", die_in)

    return arrange


def kill_before_the_last_word(monkeypatch):
    """A SIGKILL when all is done but the record does not say so yet."""
    monkeypatch.setattr(Recorder, "finish", lambda *_: die())


@pytest.mark.parametrize(
    ("kills", "more"),
    [
        # Checkpoints are at 7, 14, 21, 28 and 30; epochs end at 20.
        pytest.param([kill_after_step(3)], (), id="before the first checkpoint"),
        pytest.param([kill_after_step(9), kill_after_step(18), kill_after_step(23)], (), id="three times"),
        pytest.param([kill_after_step(13)], ("trainer.checkpoint_every=10",), id="inside an epoch"),
        pytest.param([kill_after_step(22)], ("trainer.checkpoint_every=10",), id="from an epoch's exact end"),
        pytest.param([kill_after_step(30)], ("trainer.checkpoint_every=15",), id="at the last step"),
        pytest.param(
            [kill_after_step(9), kill_after_step(24)],
            ("trainer.micro_batch_size=2", "trainer.checkpoint_every=5"),
            id="with accumulation",
        ),
        pytest.param([kill_in_write("checkpoints", 1)], (), id="in the first checkpoint's write"),
        pytest.param([kill_in_write("checkpoints", 3), kill_in_write("record", 2)], (), id="writing"),
        pytest.param([kill_between_the_names], (), id="while names change"),
        pytest.param([kill_with_both_names_on_one_file], (), id="between the names"),
        pytest.param([kill_in_validation(20), kill_in_validation(30)], ("trainer.val_every=10",), id="validating"),
        pytest.param([kill_before_the_last_word], (), id="before the last word"),
        pytest.param([kill_after_step(9), kill_after_step(18)], ("model=fsn",), id="fsn"),
        pytest.param([kill_in_validation(20), kill_after_step(23)], ("model=osn",), id="osn"),
        pytest.param([kill_in_write("checkpoints", 3)], ("model=fsn_native", "optim.embedding_lr=5"), id="fsn_native"),
    ],
)
def test_a_killed_run_ends_with_the_same_bits(kills, more, make_config, tmp_path, uninterrupted, same_weights):
    config = make_config(*more)
    for kill in kills:
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill(monkeypatch)
            killed(config)
    run(config)

    whole = uninterrupted(*more)
    same_weights(tmp_path / "run", whole)
    record, expected = load_record(tmp_path / "run"), load_record(whole)
    assert record.status == "done"
    assert without_timing(record) == without_timing(expected)
    assert record.final == expected.final
    assert record.throughput.seconds > 0 and record.throughput.tokens_per_second > 0
    leftovers = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert leftovers == {"last.ckpt", "previous.ckpt"}
    assert not list((tmp_path / "run").glob(TEMPORARY))


def as_code_wrote_it_that_set_rates_by_hand(checkpoint, steps_per_epoch, n_micro):
    """No schedule; the rates of the step before; Lightning's batches and epochs counted from an epoch's beginning."""
    step = checkpoint["global_step"]
    epoch, index = divmod(step - 1, steps_per_epoch)
    n = (index + 1) * n_micro
    counts = {"ready": n, "started": n, "processed": n, "completed": n - 1}
    epochs = {"ready": epoch + 1, "started": epoch + 1, "processed": epoch, "completed": epoch}
    checkpoint["loops"]["fit_loop"] |= {
        "state_dict": {"combined_loader": [{}]},
        "epoch_loop.state_dict": {"_batches_that_stepped": step - 1},
        "epoch_loop.batch_progress": {
            "total": {name: n + epoch * steps_per_epoch * n_micro for name, n in counts.items()},
            "current": counts,
            "is_last_batch": index + 1 == steps_per_epoch,
        },
        "epoch_progress": {"total": epochs, "current": epochs},
    }
    optim = resolve(checkpoint["config"]).optim
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        del group["initial_lr"]
        group["lr"] = optim.lr * lr_factor(step - 1, 30, optim) * group["lr_scale"]
    assert checkpoint["lr_schedulers"] == []
    steps, nats, grad_norm, tokens, began, _ = checkpoint["meter"]["since_row"]
    checkpoint["meter"]["since_row"] = [steps, nats, grad_norm, tokens, began]


@pytest.mark.parametrize(
    ("step", "more"),
    [
        pytest.param(3, (), id="warming up"),
        pytest.param(20, (), id="at an epoch's end"),
        pytest.param(23, ("model=fsn_native", "optim.embedding_lr=5", "trainer.micro_batch_size=2"), id="accumulated"),
    ],
)
def test_a_checkpoint_by_older_code_goes_on(step, more, make_config, tmp_path, uninterrupted, same_weights):
    config, path = make_config(f"trainer.checkpoint_every={step}", *more), tmp_path / "run/checkpoints/last.ckpt"
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_after_step(step + 1)(monkeypatch)
        killed(config)
    checkpoint = read_checkpoint(path)
    as_code_wrote_it_that_set_rates_by_hand(checkpoint, 20, 4 if more else 1)
    torch.save(checkpoint, path)
    run(config)
    same_weights(tmp_path / "run", uninterrupted(*more))
    assert without_timing(load_record(tmp_path / "run")) == without_timing(load_record(uninterrupted(*more)))


def test_a_kill_after_a_damaged_checkpoint_leaves_the_whole_one(make_config, tmp_path, uninterrupted, same_weights):
    folder, config = tmp_path / "run" / "checkpoints", make_config()
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_after_step(23)(monkeypatch)
        killed(config)
    os.truncate(folder / "last.ckpt", 1000)  # step 21; previous.ckpt is of step 14
    with pytest.MonkeyPatch.context() as monkeypatch:
        kill_with_both_names_on_one_file(monkeypatch)
        killed(config)
    assert newest_whole(tmp_path / "run") == folder / "previous.ckpt"
    run(config)
    same_weights(tmp_path / "run", uninterrupted())
    assert (folder / "last.ckpt.damaged-1").stat().st_size == 1000, "nothing is thrown away"


def test_resuming_with_something_else_is_said_and_recorded(make_config, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        kill_after_step(17)(patch)
        killed(make_config())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.plan.versions", lambda: {"torch": "9.9"})
        record = run(make_config())
    assert "the run began with something else: versions.torch is" in " ".join(capsys.readouterr().err.split())
    (before,) = record.earlier
    assert before["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert record.versions == {"torch": "9.9"}
    assert before["command"] and load_record(tmp_path / "run").earlier == record.earlier


def test_resuming_says_from_where_and_keeps_counting(make_config, tmp_path, capsys, monkeypatch):
    config = make_config()
    with pytest.MonkeyPatch.context() as patch:
        kill_after_step(17)(patch)
        killed(config)
    crashed = load_record(tmp_path / "run")
    assert crashed.status == "running"
    run(config)
    said = capsys.readouterr().out
    assert "resuming from step 14 of 30" in said and "last.ckpt" in said
    record = load_record(tmp_path / "run")
    assert record.started == crashed.started
    assert record.throughput.seconds > crashed.throughput.seconds > 0
