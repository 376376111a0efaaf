"""The demo from runs to table, figure and samples, at a size that takes seconds."""

import os
import signal
import threading
import time

import pytest

from configs.compose import compose
from configs.errors import UserError
from results import demo
from training.run import run

SMALL = (
    "scale=smoke",
    "data=text",
    "data.path=corpus.txt",
    "data.cache_dir=cache",
    "data.context=16",
    "batch_size=2",
    "logger=none",
    "trainer.max_steps=2",
    "trainer.val_every=1",
    "trainer.progress=false",
    f"runs={demo.FOLDER}",
)


def test_demo(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text("for each in every: print(each)\n" * 60)
    monkeypatch.setattr(demo, "SETTINGS", SMALL)
    monkeypatch.setattr(demo, "LENGTH", 20)
    monkeypatch.setattr(demo, "train", lambda overrides: run(compose("train", overrides)))
    demo.main([])
    shown = capsys.readouterr().out
    table = (tmp_path / demo.FOLDER / "table.md").read_text()
    assert table in shown
    assert [model for model in demo.MODELS if f"| {model} " not in table] == []
    for name in ("bits-per-byte.png", "bits-per-byte.svg", *(f"sample-{model}.txt" for model in demo.MODELS)):
        path = demo.FOLDER / name
        assert (tmp_path / path).stat().st_size > 0
        assert str(path) in shown
    assert (tmp_path / demo.FOLDER / "sample-fsn.txt").read_text(encoding="utf-8").startswith(demo.PROMPT)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ckpt")}
    demo.main([])
    assert capsys.readouterr().out.count("already finished") == len(demo.MODELS)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ckpt")} == before


def test_a_run_that_fails_ends_the_demo_with_its_code(monkeypatch, tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import sys; sys.exit(int(sys.argv[1]))")
    monkeypatch.setattr(demo, "TRAIN", script)
    demo.train(["0"])
    with pytest.raises(SystemExit) as stop:
        demo.train(["3"])
    assert stop.value.code == 3


def test_a_signal_lets_the_run_save_and_end_by_itself(monkeypatch, tmp_path):
    script, ready, saved = (tmp_path / name for name in ("train.py", "ready", "saved"))
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n"
        f"    time.sleep(0.5); pathlib.Path({str(saved)!r}).touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(demo, "TRAIN", script)

    def terminate():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        demo.train([])
    assert (stop.value.code, saved.exists()) == (143, True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_arguments_are_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(demo, "train", lambda overrides: pytest.fail("trained"))
    with pytest.raises(UserError, match=r"^x: the demo takes no arguments; type python train.py"):
        demo.main(["x"])
