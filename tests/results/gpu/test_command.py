"""`make gpu`: its mistakes, and all of it on the CPU at smoke sizes."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from results import target
from results.gpu import __main__ as gpu
from results.gpu.within_time import WithinTime

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("hours=soon", r"hours=soon: takes a number above 0; type hours=1\.5, with make HOURS=1\.5"),
        ("hours=0", "hours=0: takes a number above 0"),
        ("hours=nan", "hours=nan: takes a number above 0"),
        ("dry=2", "dry=2: takes 1, .*; type dry=1"),
        ("profile=cpu", "profile=cpu: is for table-fsn-enwik8; leave it out, or type dry=1"),
        ("trainer.max_stesp=3", "max_steps"),
    ],
)
def test_mistakes(typed, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    with pytest.raises(UserError, match=words):
        gpu.main([typed])


def test_without_cuda_one_line_says_how_to_try_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device that torch sees; type make gpu DRY=1"):
        gpu.main(["hours=1"])


@pytest.mark.timeout(900)
def test_a_dry_run_does_all_of_it_and_nothing_twice(tmp_path, text_file, cache_dir, monkeypatch, capsys):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "venv" / "installed").touch()
    keys = ["seed=0", "data.split=[0.8,0.1,0.1]", f"data.cache_dir={cache_dir}", f"runs={tmp_path / 'runs'}"]
    keys += ["data.context=16", "trainer.max_epochs=null"]
    command = ["make", "-s", "gpu", f"VENV={tmp_path / 'venv'}", "DRY=1", "HOURS=9", "DATA=text"]
    done = subprocess.run(
        [*command, f"DATA_PATH={text_file}", f"ARGS={shlex.join(keys)}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    plan, _, rest = done.stdout.partition("\ntests: ")
    assert "smoke sizes, 9:00:00 given" in plan and plan.count("to do") == 3 and "0 of 2 runs" in plan
    assert "tests, steps, layers done; trainings: 2 of 2 runs, 100% of all steps" in rest
    assert "left          nothing" in rest and "| 6 of 6 steps |" in rest

    monkeypatch.setattr(WithinTime, "run", lambda *_: pytest.fail("made again"))
    typed = ["data=text", f"data.path={text_file}", *keys]
    assert gpu.main(["dry=1", *typed]) == 0
    again = capsys.readouterr().out
    assert again.count("done before") == 3 and "2 of 2 runs" in again
    (line,) = (line for line in again.splitlines() if line.startswith("table  "))
    (arguments,) = (word[5:] for word in shlex.split(line) if word.startswith("ARGS="))
    table = ["table-fsn-enwik8", "profile=smoke", *shlex.split(arguments), f"output={tmp_path / 'tables'}"]
    assert target.main(table) == 0
    loss = again.split("| 6 of 6 steps |")[1].split("|")[0].strip()
    assert loss in next((tmp_path / "tables").glob("*.md")).read_text()
