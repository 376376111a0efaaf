import sys

import pytest

from training.progress import Progress

BITS = 2.0


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(40, shown=True)
    progress.start(10, last_validation=3.25)
    progress.step(11, BITS, 1234.0)
    progress.validation(500, 1000)
    progress.row({"step": 12, "split": "train", "bits_per_byte": 9.9})
    progress.row({"step": 12, "split": "validation", "bits_per_byte": 1.5})
    progress.step(40, BITS, 1234.0)
    progress.stop()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 11/40 · 2.000 bits/byte · val 3.250 · 1.2k tok/s")
    assert lines[1:3] == ["step 11/40 · validation 500/1,000 targets", "step 12/40 · validation 1.5000 bits/byte"]
    assert "val 1.500" in lines[3] and "0:00:00 left" in lines[3]


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    progress = Progress(22_000, shown=True)
    progress.start(0, last_validation=None)
    progress.step(21_999, BITS, 123_456.0)
    progress.validation(500, 1000)
    progress.row({"step": 21_999, "split": "validation", "bits_per_byte": 1.5})
    progress.step(22_000, BITS, 123_456.0)
    progress.stop()
    said = capsys.readouterr().err
    assert "22000/22000" in said and "123.5k tok/s" in said and "2.000 bits/byte" in said and "val 1.500" in said


def test_nothing_when_not_shown(capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(2, shown=False)
    progress.start(0, None)
    progress.step(2, BITS, 1.0)
    progress.validation(1, 2)
    progress.row({"step": 2, "split": "validation", "bits_per_byte": 1.5})
    progress.stop()
    assert capsys.readouterr() == ("", "")


def shown_after(losses, capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(10_000, shown=True)
    progress.start(0, None)
    for step, loss in enumerate(losses, 1):
        progress.step(step, loss, 1.0)
    return float(capsys.readouterr().err.splitlines()[-1].split(" · ")[1].split()[0])


@pytest.mark.parametrize("steps", [1, 10, 100, 400])
def test_the_shown_loss_is_that_of_the_last_tenth_of_the_steps_while_it_falls(capsys, monkeypatch, steps):
    losses = [2 + 6 * step**-0.5 for step in range(1, steps + 1)]
    last = losses[-max(1, steps // 10) :]
    assert shown_after(losses, capsys, monkeypatch) == pytest.approx(sum(last) / len(last), rel=0.02)


def test_the_shown_loss_is_a_mean_where_it_is_level(capsys, monkeypatch):
    losses = [BITS + (-1) ** step for step in range(600)]
    assert shown_after(losses, capsys, monkeypatch) == pytest.approx(BITS, abs=0.03)


def test_a_reader_that_has_gone_ends_no_run(monkeypatch):
    class Gone:
        def isatty(self):
            return False

        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        flush = None

    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", Gone())
    progress = Progress(2, shown=True)
    progress.start(0, None)
    progress.step(1, BITS, 1.0)
    progress.row({"step": 1, "split": "validation", "bits_per_byte": 1.5})
