"""The cache: whole or absent, checked before it is used, the same for processes that start at once."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import DataConfig
from data.corpus import Built, cache_folder, cached_corpus
from data.sources import open_corpus
from data.windows import evaluation_batches, training_batch

ROOT = Path(__file__).parents[2]
CONTENT = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text.bin").write_bytes(CONTENT)
    return DataConfig(
        name="text", source="text", path=str(tmp_path / "text.bin"), cache_dir=str(tmp_path / "cache" / "deep")
    )


def cached_files(config):
    return sorted(path.suffix for path in Path(config.cache_dir).iterdir())


def test_a_corpus_is_read_only_mapped_and_named_by_its_content(config):
    corpus = open_corpus(config)
    assert corpus.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert corpus.path.name == f"{corpus.sha256}.bin"
    assert corpus.bytes_per_split() == {"train": 180_000, "validation": 10_000, "test": 10_000}
    assert b"".join(corpus.split(name).tokens.tobytes() for name in ("train", "validation", "test")) == CONTENT
    assert corpus.vocabulary_size == 256
    with pytest.raises(ValueError, match="read-only"):
        corpus.split("train").tokens[0] = 0
    with pytest.raises(UserError, match="split=tset does not exist; choose one of train, validation, test"):
        corpus.split("tset")


def test_the_second_start_reads_the_cache_and_other_splits_share_the_content(config):
    first = open_corpus(config)
    made = first.path.stat().st_mtime_ns
    assert open_corpus(config) == first
    assert first.path.stat().st_mtime_ns == made
    config.split = [0.5, 0.25, 0.25]
    other = open_corpus(config)
    assert other.path == first.path and other.bytes_per_split()["train"] == 100_000
    assert cached_files(config) == [".bin", ".json", ".json"]
    Path(config.path).write_bytes(CONTENT[::-1])
    assert open_corpus(config).sha256 != first.sha256


def damage_truncated(content, meta):
    content.write_bytes(content.read_bytes()[:-1])


def damage_one_byte(content, meta):
    found = bytearray(content.read_bytes())
    found[1234] ^= 1
    content.write_bytes(found)


def damage_absent(content, meta):
    content.unlink()


def damage_meta_cut(content, meta):
    meta.write_text(meta.read_text()[:50])


def damage_meta_other(content, meta):
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "lengths": {"train": 1}}))


def damage_meta_list(content, meta):
    meta.write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [damage_truncated, damage_one_byte, damage_absent, damage_meta_cut, damage_meta_other, damage_meta_list],
)
def test_a_damaged_cache_is_built_again(config, damage):
    first = open_corpus(config)
    (meta,) = Path(config.cache_dir).glob("*.json")
    good = meta.read_bytes()
    damage(first.path, meta)
    again = open_corpus(config)
    assert again == first
    assert b"".join(again.split(name).tokens.tobytes() for name in again.splits) == CONTENT
    assert meta.read_bytes() == good
    assert cached_files(config) == [".bin", ".json"]


def test_a_running_reader_keeps_its_pages_while_the_cache_is_rebuilt(config):
    corpus = open_corpus(config)
    train = corpus.split("train").tokens
    next(Path(config.cache_dir).glob("*.json")).unlink()
    open_corpus(config)
    assert train.tobytes() == CONTENT[:180_000]


WORKER = """
import os, signal, sys, time
from configs.schema import DataConfig
from data.corpus import Built, cached_corpus

folder, mode = sys.argv[1:]
slow = {"lightning", "datasets", "pyarrow", "zstandard"} & set(sys.modules)
assert not slow, f"imported though nothing needed it: {slow}"
half = b"0123456789" * 100_000

def build(write):
    write(half)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    # Both workers are in the middle of writing before either goes on.
    open(os.path.join(folder, f"ready-{os.getpid()}"), "w").close()
    while len([name for name in os.listdir(folder) if name.startswith("ready-")]) < 2:
        time.sleep(0.01)
    write(half)
    return Built({"train": 1_500_000, "validation": 250_000, "test": 250_000}, {})

config = DataConfig(name="x", source="text", cache_dir=os.path.join(folder, "cache"))
corpus = cached_corpus(config, {"source": "text"}, {}, build)
assert b"".join(corpus.split(name).tokens.tobytes() for name in corpus.splits) == 2 * half
print(corpus.sha256)
"""


def start(folder, mode):
    command = [sys.executable, "-c", WORKER, str(folder), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_and_one_that_is_killed_leave_a_whole_cache(tmp_path):
    killed = start(tmp_path, "killed")
    assert killed.wait(timeout=60) == -signal.SIGKILL
    assert not list((tmp_path / "cache").glob("*.bin")) and not list((tmp_path / "cache").glob("*.json"))

    workers = [start(tmp_path, "together") for _ in range(2)]
    printed = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert printed[0] == printed[1] != ""
    (content,) = (tmp_path / "cache").glob("*.bin")
    assert hashlib.sha256(content.read_bytes()).hexdigest() == printed[0]


def test_what_a_killed_process_left_is_removed_a_day_later(config):
    folder = cache_folder(config)
    folder.mkdir(parents=True)
    old, new, foreign = folder / f"{'0a' * 16}.tmp", folder / f"{'1b' * 16}.tmp", folder / "film.mkv.tmp"
    for path in (old, new, foreign):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    open_corpus(config)
    assert not old.exists(), "left by a process that was killed"
    assert new.exists(), "another process may be writing it"
    assert foreign.exists(), "it is not ours"


def test_no_room_is_one_line_and_leaves_nothing(config):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError) as caught:
            open_corpus(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"cannot write the data cache in {config.cache_dir}: File too large; make room")
    assert cached_files(config) == []


def test_a_cache_folder_that_cannot_be_made_is_one_line(config, tmp_path):
    (tmp_path / "file").write_text("")
    config.cache_dir = str(tmp_path / "file" / "cache")
    with pytest.raises(UserError, match=r"cannot write the data cache in .*data\.cache_dir=FOLDER"):
        open_corpus(config)


def test_a_split_that_ends_empty_is_named(config):
    Path(config.path).write_bytes(b"0123456789")
    with pytest.raises(UserError, match=r"the test split of .* is empty \(10 bytes in all"):
        open_corpus(config)
    assert cached_files(config) == []


def test_the_cache_folder_comes_from_the_config_then_the_environment_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNCHRONY_CACHE", str(tmp_path / "environment"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder(DataConfig(cache_dir="~/given")) == tmp_path / "home" / "given"
    assert cache_folder(DataConfig()) == tmp_path / "environment"
    monkeypatch.delenv("SYNCHRONY_CACHE")
    assert cache_folder(DataConfig()) == tmp_path / "home" / ".cache" / "synchrony"


def test_facts_and_source_are_plain_json(config):
    def build(write):
        write(b"abc")
        return Built({"train": 1, "validation": 1, "test": 1}, {"documents": 3})

    recipe = {"source": "text", "key": "1"}
    made = cached_corpus(config, recipe, {"file": "a"}, build)
    found = cached_corpus(config, recipe, {"file": "b"}, build)
    assert json.loads(json.dumps(made.source)) == {"file": "a", "documents": 3}
    assert found.source == {"file": "b", "documents": 3}  # told of this start, not of the one that built the cache


def training_batch_of(corpus):
    return training_batch(corpus.split("train"), 16, 4, seed=1, epoch=0, index=0)


@pytest.mark.parametrize("tokenizer", ["bytes", "characters"])
def test_a_cached_corpus_that_is_cut_or_written_to_in_use_is_one_line(config, tokenizer):
    config.tokenizer = tokenizer
    corpus = open_corpus(config)
    split, text = corpus.split("train"), corpus.text("train")
    batches = evaluation_batches(split, 16, 4)
    next(batches)
    first = training_batch_of(corpus)
    os.utime(corpus.path, (1, 1))  # as clusters' cleaners are kept away; the content is the same
    assert torch.equal(training_batch_of(corpus).targets, first.targets)
    with corpus.path.open("r+b") as file:
        file.write(bytes([split.tokens[0] ^ 1]))
    with pytest.raises(UserError, match=r"\.bin was changed in use: it has other bytes; start again"):
        training_batch_of(corpus)
    os.truncate(corpus.path, 10)
    for read in (lambda: next(batches), lambda: training_batch_of(corpus), lambda: split.require_whole()):
        with pytest.raises(UserError, match=r"\.bin was changed in use: it had [0-9,]+ bytes and has 10; start again"):
            read()
    assert open_corpus(config).text("train").tobytes() == Path(config.path).read_bytes()[: len(text)]


def test_a_cache_that_is_removed_in_use_stays_readable(config):
    corpus = open_corpus(config)
    first, content = training_batch_of(corpus), corpus.text("validation").tobytes()
    shutil.rmtree(config.cache_dir)
    assert torch.equal(training_batch_of(corpus).targets, first.targets)
    assert corpus.text("validation").tobytes() == content
    with pytest.raises(UserError, match=r"the data cache's .*\.bin is gone \(No such file or directory\); start again"):
        replace(corpus).split("train")
