import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import torch

from configs.compose import compose
from training import announce
from training.run_record import environment
from training.run_record.device import device, prepare
from training.run_record.record import Git


def test_without_git_nothing_is_said_of_a_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git() == Git(None, None)


def test_versions_are_those_of_what_runs():
    versions = environment.versions()
    assert versions["python"] == sys.version.split()[0]
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]  # a build for CUDA has a name
    assert re.fullmatch(r"\d+\.\d+\.\d+", versions["synchrony"])  # of the sources, installed or not


def test_the_command_names_the_entry_point_without_its_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/private/train.py", "model=fsn", "data.path=/somewhere/private/a.txt"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert environment.command() == (
        "python train.py model=fsn data.path=a.txt  # of the path only the last part: data.path=a.txt"
    )


def test_a_module_is_recorded_as_it_is_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", [__file__, "table-fsn-enwik8", "profile=smoke"])
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", ModuleSpec("results.target", None, origin=__file__))
    assert environment.command() == "python -m results.target table-fsn-enwik8 profile=smoke"
    monkeypatch.setattr(main, "__spec__", ModuleSpec("results.claims.__main__", None, origin=__file__))
    assert environment.command().startswith("python -m results.claims table")
    monkeypatch.setattr(main, "__spec__", ModuleSpec("cProfile", None, origin="/usr/lib/python3/cProfile.py"))
    monkeypatch.setattr(sys, "argv", ["train.py", "model=fsn"])
    assert environment.command() == "python train.py model=fsn"


def test_a_relative_path_is_marked_where_it_does_not_lead_from_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["train.py", "data=text", "data.path=texts/a.txt"])
    monkeypatch.chdir(environment.SOURCES)
    assert environment.command() == "python train.py data=text data.path=texts/a.txt"
    monkeypatch.chdir(tmp_path)
    assert environment.command().partition("  # ")[2].startswith("data.path is relative to the folder")


def test_the_commit_is_that_of_this_source_whatever_the_environment_says(monkeypatch, tmp_path):
    expected = environment.git()
    other = tmp_path / "other"
    for command in (["init", "-q", other], ["-C", other, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *map(str, command)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "no-index"))
    monkeypatch.setenv("LC_ALL", "xx_YY.no-such")
    monkeypatch.delenv("HOME", raising=False)
    assert environment.git() == expected
    monkeypatch.setattr(environment, "SOURCES", other / "unpacked")
    (other / "unpacked").mkdir()
    assert environment.git() == Git(None, None), "a copy inside another repository has no commit of its own"


def test_the_source_is_known_by_its_bytes(monkeypatch, tmp_path):
    for name in ("training", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    monkeypatch.setattr(environment, "SOURCES", tmp_path)
    first = environment.source_sha256()
    (tmp_path / "results" / "a.py").write_text("2")
    assert environment.source_sha256() == first, "what shows results does not train"
    (tmp_path / "training" / "a.py").write_text("2")
    assert environment.source_sha256() != first


def test_a_gpu_multiplies_in_tf32_and_the_run_says_so(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda wanted: None)
    config = compose("train", ["trainer.accelerator=auto"])
    prepare(config, "cuda")
    record = SimpleNamespace(device=device(config, "cuda"))
    assert asked == ["high"] and record.device.float32 == "TF32"
    assert announce._device(config, record).endswith("thread, float32 products in TF32")
    assert device(config, "cpu").float32 == "float32"
