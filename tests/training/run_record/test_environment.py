import sys

import torch

from training.run_record import environment
from training.run_record.record import Git


def test_without_git_nothing_is_said_of_a_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git() == Git(None, None)


def test_versions_are_those_of_what_runs():
    versions = environment.versions()
    assert versions["python"] == sys.version.split()[0]
    assert versions["torch"] == torch.__version__


def test_the_command_names_the_entry_point_without_its_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/private/train.py", "model=fsn", "data.path=/somewhere/private/a.txt"])
    assert environment.command() == "python train.py model=fsn data.path=a.txt"


def test_only_the_first_process_is_the_main_one(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert environment.is_main_process()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert environment.is_main_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not environment.is_main_process()
