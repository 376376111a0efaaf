"""Where the cache and the data lie for a user with a home folder, and for one without."""

import os

import pytest

from configs.compose import compose
from configs.errors import UserError
from data.corpus import cache_folder
from data.files import existing_file
from training.run_record.run_directory import run_directory


def test_the_home_folder_is_expanded_where_files_are_opened(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SYNCHRONY_CACHE", raising=False)
    (tmp_path / "a.txt").write_text("text")
    config = compose("train", ["data=text", "data.path=~/a.txt", "data.tokenizer=~/a.txt"])
    assert (
        existing_file(config.data.path) == existing_file(config.data.tokenizer, "data.tokenizer") == tmp_path / "a.txt"
    )
    assert cache_folder(config.data) == tmp_path / ".cache/synchrony"
    config.runs, config.data.cache_dir = "~/mine", "~/c"  # out of a user's own YAML file
    assert run_directory(config).parent == tmp_path / "mine"
    assert cache_folder(config.data) == tmp_path / "c"
    monkeypatch.setenv("SYNCHRONY_CACHE", "~/shared")
    config.data.cache_dir = None
    assert cache_folder(config.data) == tmp_path / "shared"


def test_without_a_home_folder_one_line_says_what_to_type(monkeypatch):
    config = compose("train", ["data=text", "data.path=~/a.txt"])
    monkeypatch.delenv("SYNCHRONY_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)
    with pytest.raises(UserError, match=r"such as data.cache_dir=/tmp/.cache/synchrony$"):
        cache_folder(config.data)
    with pytest.raises(UserError, match=r"^data.path=~/a.txt: there is no home folder"):
        existing_file(config.data.path)
