import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
from types import SimpleNamespace

import pytest

from training.progress import Progress

BITS = 2.0


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(40, shown=True)
    progress.start(10, last_validation=3.25)
    progress.step(11, [BITS], 1234.0)
    progress.validation(500, 1000)
    progress.row({"step": 12, "split": "train", "bits_per_byte": 9.9})
    progress.row({"step": 12, "split": "validation", "bits_per_byte": 1.5})
    progress.step(40, [BITS], 1234.0)
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
    progress.step(21_999, [BITS], 123_456.0)
    progress.validation(500, 1000)
    progress.row({"step": 21_999, "split": "validation", "bits_per_byte": 1.5})
    progress.step(22_000, [BITS], 123_456.0)
    progress.stop()
    said = capsys.readouterr().err
    assert "22000/22000" in said and "123.5k tok/s" in said and "2.000 bits/byte" in said and "val 1.500" in said


def test_nothing_when_not_shown(capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(2, shown=False)
    progress.start(0, None)
    progress.step(2, [BITS], 1.0)
    progress.validation(1, 2)
    progress.row({"step": 2, "split": "validation", "bits_per_byte": 1.5})
    progress.stop()
    assert capsys.readouterr() == ("", "")


def shown_after(losses, capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(10_000, shown=True)
    progress.start(0, None)
    for step, loss in enumerate(losses, 1):
        progress.step(step, [loss], 1.0)
    return float(capsys.readouterr().err.splitlines()[-1].split(" · ")[1].split()[0])


@pytest.mark.parametrize("steps", [1, 10, 100, 400])
def test_the_shown_loss_is_that_of_the_last_tenth_of_the_steps_while_it_falls(capsys, monkeypatch, steps):
    losses = [2 + 6 * step**-0.5 for step in range(1, steps + 1)]
    last = losses[-max(1, steps // 10) :]
    assert shown_after(losses, capsys, monkeypatch) == pytest.approx(sum(last) / len(last), rel=0.02)


def test_the_shown_loss_is_a_mean_where_it_is_level(capsys, monkeypatch):
    losses = [BITS + (-1) ** step for step in range(600)]
    assert shown_after(losses, capsys, monkeypatch) == pytest.approx(BITS, abs=0.03)


def test_the_shown_loss_says_how_many_steps_it_is_a_mean_of(capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(10_000, shown=True)
    progress.start(0, None)
    for step in range(1, 101):
        progress.step(step, [BITS], 1.0)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert "mean of" not in first, "one loss is no mean"
    assert last.startswith("step 100/10000 · 2.000 bits/byte · mean of 10 steps · val -")
    assert progress._drawn(39).startswith("step 100/10000 · ") and progress._drawn(39).endswith(" left")


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
    progress.step(1, [BITS], 1.0)
    progress.row({"step": 1, "split": "validation", "bits_per_byte": 1.5})


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@contextlib.contextmanager
def terminal_as_stderr(monkeypatch):
    """A terminal in place of stderr: `resize(columns)`, and `shown()`, the lines that were drawn on it since."""
    master, slave = pty.openpty()
    stderr = os.dup(2)
    os.dup2(slave, 2)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES", "CI"):
        monkeypatch.delenv(name, raising=False)

    def shown():
        said = b""
        while select.select([master], [], [], 0)[0]:
            said += os.read(master, 1 << 16)
        return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", said.decode())) if line]

    def resize(columns):
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    with open(slave, "w", encoding="utf-8", closefd=False) as stream:
        try:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stderr", stream)
                yield SimpleNamespace(resize=resize, shown=shown)
        finally:
            os.dup2(stderr, 2)
    for descriptor in (stderr, master, slave):
        os.close(descriptor)


def test_a_narrow_terminal_keeps_step_and_time_left(monkeypatch):
    """Also one that is resized while the run goes."""
    with terminal_as_stderr(monkeypatch) as terminal:
        look_at_widths(terminal)


def look_at_widths(terminal):
    terminal.resize(80)
    progress = Progress(22_000, shown=True)
    progress.start(0, last_validation=3.25)
    for columns, kept in ((200, 6), (80, 5), (60, 3), (40, 2), (80, 5)):
        terminal.shown()
        terminal.resize(columns)
        progress.step(progress.at + 5_000 if columns != 80 else 21_999, [BITS], 123_456.0)
        progress._live.refresh()
        line = terminal.shown()[-1]
        assert len(line) < columns and len(line.split(" · ")) == kept, line
        assert f"step {progress.at}/22000" in line and line.endswith(" left")
        assert ("val 3.250" in line, "2.000 bits/byte" in line) == (columns >= 80, columns >= 60)
    progress.validation(500, 1000)
    progress._live.refresh()
    assert terminal.shown()[-1] == "val 500/1000 targets"
    progress.stop()


def test_the_name_of_the_run_is_in_every_line_and_error(capsys, monkeypatch):
    monkeypatch.setattr("training.progress.LINE_EVERY", 0.0)
    progress = Progress(40, shown=True, name="fsn-1m")
    progress.start(10, None)
    progress.step(11, [BITS], 1234.0)
    progress.validation(5, 10)
    progress.row({"step": 11, "split": "validation", "bits_per_byte": 1.5})
    progress.warn(11, "two heads are alike")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.removeprefix("warning: ").startswith("fsn-1m: step 11") for line in lines)
    progress.rank = 1
    assert progress.where() == "run fsn-1m, rank 1, step 11"
