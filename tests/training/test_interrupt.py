"""SIGINT and SIGTERM: the step is finished, a checkpoint written, and the run goes on later as if nothing had been."""

import os
import signal

import pytest

from training.meter import Meter
from training.run import run
from training.run_record.record import load_record
from training.signals import GracefulStop, Interrupted
from training.validation import Validation


def signal_after_step(monkeypatch, step, signum):
    measure = Meter.measure

    def measure_and_signal(self, trainer, *rest):
        if trainer.global_step == step:
            os.kill(os.getpid(), signum)
        return measure(self, trainer, *rest)

    monkeypatch.setattr(Meter, "measure", measure_and_signal)


@pytest.mark.parametrize(("signum", "step"), [(signal.SIGINT, 11), (signal.SIGTERM, 20)])
def test_a_signal_ends_the_run_after_its_step(make_config, tmp_path, uninterrupted, same_weights, signum, step):
    before = signal.getsignal(signum)
    with pytest.MonkeyPatch.context() as patch:
        signal_after_step(patch, step, signum)
        with pytest.raises(Interrupted) as interrupted:
            run(make_config())
    assert interrupted.value.exit_code == 128 + signum
    assert signal.getsignal(signum) == before
    record = load_record(tmp_path / "run")
    assert record.status == "interrupted" and signum.name in record.error

    run(make_config())
    assert load_record(tmp_path / "run").status == "done"
    same_weights(tmp_path / "run", uninterrupted())


def test_a_signal_ends_a_validation_at_once_and_the_resumed_run_makes_it_first(make_config, tmp_path):
    row = Validation.row

    def signal_in_row(self, model, step, tokens, on_progress, *rest):
        def progress(done, total):
            os.kill(os.getpid(), signal.SIGTERM)
            on_progress(done, total)

        return row(self, model, step, tokens, progress, *rest)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Validation, "row", signal_in_row)
        run(make_config("trainer.val_every=5"))
    assert load_record(tmp_path / "run").rows("validation") == []
    record = run(make_config("trainer.val_every=5"))
    assert [row["step"] for row in record.rows("validation")] == [5, 10, 15, 20, 25, 30]


def test_a_second_signal_ends_the_process_at_once():
    pid = os.fork()
    if pid == 0:
        with GracefulStop() as stop:
            stop.deferred = True
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(99)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 143


def test_a_signal_outside_training_is_not_held_back():
    with GracefulStop(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
