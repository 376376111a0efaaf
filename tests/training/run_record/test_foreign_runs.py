"""A run directory of another person: nothing in it is looked up, followed or run, and each fault is one line."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from configs.compose import compose, config_dict, resolve_saved
from configs.errors import UserError
from configs.saved import escaped, read_saved
from configs.schema import EvaluationDataConfig
from data.sources import open_corpus
from training.run_record.record import load_record
from training.run_record.trained_run import open_run

SHORT = ("trainer.max_steps=3",)
HERE = EvaluationDataConfig()
OTHERS = shutil.ignore_patterns("epoch-*", "previous.ckpt")


@pytest.fixture
def foreign(uninterrupted, tmp_path, monkeypatch):
    """`foreign({"data.path": ..})`: the directory of a whole run whose config.yaml and checkpoints have other values.

    Our cache is empty, and the environment has a secret.
    """
    monkeypatch.setenv("SYNCHRONY_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("SECRET", "hunter2")

    def make(changes):
        folder = Path(shutil.copytree(uninterrupted(*SHORT), tmp_path / "foreign", ignore=OTHERS, dirs_exist_ok=True))

        def change(values):
            for key, value in changes.items():
                *path, name = key.split(".")
                branch = values
                for part in path:
                    branch = branch[part]
                branch[name] = value

        values = yaml.safe_load((folder / "config.yaml").read_text())
        change(values)
        (folder / "config.yaml").write_text(yaml.safe_dump(values))
        for file in (folder / "checkpoints").glob("*.ckpt"):
            content = torch.load(file, weights_only=True)
            change(content["config"])
            torch.save(content, file)
        return folder

    return make


@pytest.fixture
def refused():
    """The one line that a run directory is refused with."""

    def get(folder):
        with pytest.raises(UserError) as caught:
            open_run(str(folder)).corpus(HERE)
        assert "hunter2" not in str(caught.value)
        return str(caught.value)

    return get


def test_what_looks_like_a_reference_is_text(foreign, text_file, tmp_path):
    """Also where a file has such a name: data.path=a${b}."""
    folder = foreign({"trainer.name": "${oc.env:SECRET}", "run_dir": r"\${oc.env:SECRET}", "data.path": "${.name}"})
    config = open_run(str(folder)).config
    assert config.trainer.name == "${oc.env:SECRET}"
    assert config.run_dir == r"\${oc.env:SECRET}" and config.data.path == "${.name}"
    saved = config_dict(compose("train", ["data=text", r"data.path='a\${b}'", "model=fsn"]))
    assert saved["data"]["path"] == "a${b}" and resolve_saved(saved).data.path == "a${b}"


@pytest.mark.parametrize("text", ["${a}", r"\${a}", r"\\${a}", "${", "a}${b}$${c}", r"$\{d}", "\\", "${oc.env:HOME}\\"])
def test_every_text_comes_back_as_it_was_saved(text):
    saved = config_dict(compose("train", ["model=fsn"]))
    saved["logger"]["project"] = text
    assert resolve_saved(saved).logger.project == text
    assert "${" not in text or escaped(text) != text


def test_a_name_is_not_looked_up(foreign, refused):
    assert "${oc.env:SECRET}" in refused(foreign({"model.name": "${oc.env:SECRET}"}))
    assert "unknown key 'model._target_'" in refused(
        foreign({"model.name": "transformer", "model._target_": "os.abort"})
    )


def test_the_data_is_opened_by_its_hash_alone(foreign, refused, text_file, cache_dir, tmp_path, capsys):
    private = tmp_path / "private"
    private.write_text("a secret in a file of ours " * 200)
    for path in (private, tmp_path, "/dev/zero", "/dev/stdin", "nothing", "a\0b", "${oc.env:SECRET}"):
        line = refused(foreign({"data.path": str(path), "data.cache_dir": None}))
        assert "is not in the cache, and not here as the file that it was trained on" in line
        assert "type data.path=PATH" in line and "a secret" not in line
    assert not (tmp_path / "ours").exists(), "nothing of another file is copied into the cache"
    # The same where the file is the very one, or the cache has it, or the user names it.
    folder = foreign({"data.path": str(text_file), "data.cache_dir": None})
    found = open_run(str(folder)).corpus(HERE)
    assert found.sha256 == load_record(folder).data.sha256 and found.path.parent == tmp_path / "ours"
    folder = foreign({"data.path": str(private), "data.cache_dir": None})
    again = open_run(str(folder)).corpus(HERE)
    assert again.splits == found.splits and again.text("test").tobytes() == found.text("test").tobytes()
    with pytest.raises(UserError, match="has changed since the run"):
        open_run(str(folder)).corpus(EvaluationDataConfig(path=str(private)))
    assert "a secret" not in "".join(capsys.readouterr())


def test_the_splits_are_those_of_the_run(foreign, tmp_path):
    """Also where the same text lies in the cache in others, or the record has splits that cannot be."""
    content = open_run(str(foreign({}))).corpus(HERE)
    (tmp_path / "same").write_bytes(content.path.read_bytes())
    given = ["data=text", f"data.path={tmp_path / 'same'}", "data.split=[0.5,0.25,0.25]", "model=fsn"]
    other = open_corpus(compose("train", given).data)
    assert other.sha256 == content.sha256 and other.splits != content.splits
    folder = foreign({"data.cache_dir": None, "data.path": "nothing"})
    assert open_run(str(folder)).corpus(HERE).splits == content.splits
    record = json.loads((folder / "record.json").read_text())
    for changes in ({"train": 10**9}, {"test": 0}, {"more": 1}):
        changed = {**record, "data": {**record["data"], "bytes": record["data"]["bytes"] | changes}}
        (folder / "record.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match="is not in the cache"):
            open_run(str(folder)).corpus(HERE)


def test_a_cache_that_only_the_config_names_is_not_written_to(foreign, text_file, cache_dir, tmp_path):
    theirs = tmp_path / "theirs"
    found = open_run(str(foreign({"data.cache_dir": str(theirs)}))).corpus(HERE)
    assert not theirs.exists() and found.path.parent == tmp_path / "ours"
    # One's own cache holds the corpus, and is used.
    assert open_run(str(foreign({"data.cache_dir": str(cache_dir)}))).corpus(HERE).path.parent == cache_dir


def test_a_hash_that_is_a_path_is_none(foreign, refused, tmp_path):
    folder = foreign({"data.path": "nothing", "data.cache_dir": str(tmp_path)})
    (tmp_path / "x.bin").write_bytes(b"secret")
    record = (folder / "record.json").read_text()
    (folder / "record.json").write_text(record.replace(load_record(folder).data.sha256, "../" + tmp_path.name + "/x"))
    assert "is not in the cache" in refused(folder)


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "it has a reference (& or *) in line 1"),
        ("a: &a {x: 1}\nb: {<<: *a}\n", "it has a reference"),
        ("&m model: {x: *m}\n", "it has a reference"),
        ("[" * 5000, "nested too deeply"),
        ("x: !!python/object/apply:os.abort []\n", "it has a tag"),
        ("x: !!python/name:os.abort\n", "it has a tag"),
        ("model: !!bool foo\n", "it has a tag"),
        ("seed: !!int ''\n", "it has a tag"),
        ("seed: !!timestamp x\n", "it has a tag"),
        ("seed: 1\nseed: 2\n", "it has a key twice"),
        ("? [1, 2]\n: 3\n", "unhashable key"),
        ("{a: 1, ? {b: 1} : 2}", "unhashable key"),
        ("seed: " + "9" * 5000, "it is not YAML (ValueError)"),
        ("seed: [\n", "in line"),
        ("model:\n  name: \x1b[31m\n", "it is not YAML (ReaderError)"),
        ("x" * 1_000_001, "more than 1,000,000 bytes"),
        ("- 1\n", "is not a run's config"),
        ("", "is not a run's config"),
    ],
)
def test_yaml_that_is_no_config_is_one_line(text, says, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_saved(path)
    assert says in str(caught.value) and str(path) in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"model": [1]}, "model=[1]: legal values"),
        ({"model": {"name": [1]}}, "model=[1]: legal values"),
        ({"model": {"name": "fsn"}, "data": {"source": [1]}}, "data.source"),
        ("model", "it is 'model'"),
        ({"model": {"name": "fsn", "tuned": {"1m": None}}}, "model.tuned.1m=None: is a group of keys"),
        ({"model": {"name": "fsn"}, "optim": {"lr": 10**400}}, "the number of 'optim.lr' is too large"),
        ({1: 2}, "the key 1 is not text"),
        ({"model": {"name": "fsn"}, "seed": b"1"}, "'seed' is a bytes"),
        ({"model": {"name": "fsn"}, "hydra": {"run": {"dir": "/"}}}, "unknown key 'hydra'"),
        ({"model": "x" * 2_000_000}, "too large"),
    ],
)
def test_values_that_are_no_config_are_one_line(values, says):
    with pytest.raises(UserError) as caught:
        resolve_saved(values, "a/file.ckpt")
    assert says in str(caught.value) and "a/file.ckpt" in str(caught.value)


@pytest.mark.parametrize("entry", [{"a": 1}, None, [0.9]])
def test_a_list_holds_plain_values(entry):
    saved = config_dict(compose("train", ["model=fsn"]))
    saved["optim"]["betas"] = [entry, 0.9]
    with pytest.raises(UserError, match=r"optim\.betas=.*: takes a list of numbers; type for example optim\.betas="):
        resolve_saved(saved)


def test_half_of_a_character_is_one_line():
    saved = config_dict(compose("train", ["model=fsn"]))
    saved["data"]["name"] = "a\ud800"
    with pytest.raises(UserError, match=r"^the config in x: data\.name=a\\ud800 holds half of a character"):
        resolve_saved(saved, "x")


def test_values_that_hold_themselves_end():
    loop = {"name": "fsn"}
    loop["model"] = loop
    for values in (loop, {"model": [[[["x"] * 100] * 100] * 100] * 100}):
        with pytest.raises(UserError, match="too large, or nested too deeply"):
            resolve_saved(values)


@pytest.mark.parametrize("name", ["config.yaml", "record.json"])
def test_a_pipe_in_place_of_a_file_is_one_line_and_not_waited_for(foreign, name):
    folder = foreign({})
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="no regular file"):
        open_run(str(folder), "start")
    with pytest.raises(UserError, match="no regular file"):
        (read_saved if name == "config.yaml" else load_record)(folder / name)


def test_a_home_folder_of_another_machine_is_not_ours_to_miss(foreign, tmp_path):
    folder = foreign({"data.path": "~nobody-here/x", "data.cache_dir": "~nobody-here/cache"})
    with pytest.raises(UserError, match="is not in the cache, and not here"):
        open_run(str(folder)).corpus(HERE)
