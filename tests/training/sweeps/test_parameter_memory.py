"""What a sweep remembers of parameter counts is what it would count."""

import os
import sys
from types import SimpleNamespace

import pytest

import baseline
from configs.compose import compose
from data.sources import vocabulary_size
from training import parameter_count
from training.budget import resolve_shape
from training.build import build_model
from training.sweeps import parameter_memory
from training.sweeps.parameter_memory import KEPT, ParameterMemory, place

TASKS = [
    ["data=enwik8"],
    ["data=text8"],
    ["task=recall", "data=repeat64", "trainer.max_steps=10"],
    ["task=translation", "data=multi30k"],
]


@pytest.fixture
def counts(monkeypatch, tmp_path):
    """What was counted, with nothing remembered."""
    counts = []
    monkeypatch.setattr(parameter_memory, "place", lambda: tmp_path / "parameters" / "now.json")
    monkeypatch.setattr(parameter_count, "build_model", lambda *asked: counts.append(asked) or build_model(*asked))
    return counts


def resolved(*overrides, model="fsn"):
    """With a memory of its own, as a process has it."""
    config = compose("train", [f"model={model}", "scale=smoke", *overrides])
    memory = ParameterMemory()
    config = resolve_shape(config, vocabulary_size(config.data), memory)
    memory.save()
    return config


@pytest.mark.parametrize("task", TASKS)
def test_a_shape_is_counted_once(counts, task):
    config = resolved(*task)
    n = len(counts)
    assert n == 3
    assert resolved(*task) == config and len(counts) == n
    without = compose("train", ["model=fsn", "scale=smoke", *task])
    assert resolve_shape(without, vocabulary_size(without.data)) == config and len(counts) == 2 * n, "a run counts"


@pytest.mark.parametrize("other", [["model.width=16"], ["data=text8"], ["model.quadratures=2"]])
def test_another_shape_is_counted(counts, other):
    resolved("data=enwik8")
    n = len(counts)
    resolved("data=enwik8", *other)
    assert len(counts) == n + 3


@pytest.mark.parametrize("content", ["{", "[]", "1", '{"x": 3}', '{"x": {}}'])
def test_a_damaged_memory_is_forgotten(counts, content):
    config = resolved("data=enwik8")
    parameter_memory.place().write_text(content)
    assert resolved("data=enwik8") == config and len(counts) == 6
    assert resolved("data=enwik8") == config and len(counts) == 6, "and written anew"


@pytest.mark.parametrize(("task", "role"), [(["data=enwik8"], "network"), (TASKS[3], "translator")])
def test_a_network_of_ones_own_is_always_counted(counts, monkeypatch, task, role):
    config = compose("train", ["model=transformer", "scale=smoke", *task])
    built = getattr(type(config.model), role).partition(":")[2]
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(Own=getattr(baseline, built)))
    monkeypatch.setattr(type(config.model), role, "mine:Own")
    resolved(*task, model="transformer")
    resolved(*task, model="transformer")
    assert len(counts) == 6 and not parameter_memory.place().exists()


def test_code_that_changed_meanwhile_is_not_remembered(counts, monkeypatch):
    monkeypatch.setattr(parameter_memory, "source_sha256", lambda: "other")
    resolved("data=enwik8")
    assert not parameter_memory.place().exists()


def test_what_other_code_counted_is_kept_for_a_month(counts, tmp_path):
    (tmp_path / "parameters").mkdir()
    old, recent = (tmp_path / "parameters" / f"{name}.json" for name in ("old", "recent"))
    for path in (old, recent):
        path.write_text("{}")
    os.utime(old, (0, old.stat().st_mtime - KEPT - 1))
    resolved("data=enwik8")
    assert not old.exists() and recent.exists() and parameter_memory.place().exists()


def test_a_folder_that_cannot_be_written_is_done_without(counts, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(parameter_memory, "place", lambda: tmp_path / "file" / "now.json")
    assert resolved("data=enwik8").model.ff_width and len(counts) == 3


def test_without_a_home_folder_nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(parameter_memory, "place", place)
    monkeypatch.delenv("SYNCHRONY_CACHE", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert resolved("data=enwik8").model.ff_width
