"""`data=text`: any local file, plain or packed; what is wrong with a file is one line."""

import gzip
import hashlib
import lzma
import os
import sys

import pytest
import zstandard

from configs.compose import compose
from configs.errors import UserError
from configs.schema import DataConfig
from data.sources import open_corpus

CONTENT = b"line one\r\nline two\n\x00\xff caf\xc3\xa9\n" * 5000


def zstd(content):
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)  # as the zstd program does


PACKED = {
    "plain.txt": lambda content: content,
    "no_suffix": lambda content: content,
    "text.gz": gzip.compress,
    "text.XZ": lzma.compress,
    "text.xz": lzma.compress,
    "text.zst": zstd,
}


@pytest.fixture
def open_text(tmp_path):
    def open_text(path, **options):
        return open_corpus(
            DataConfig(
                name="mine", source="text", path=path and str(path), cache_dir=str(tmp_path / "cache"), **options
            )
        )

    return open_text


@pytest.fixture
def written(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def content_of(corpus):
    return b"".join(corpus.split(name).tokens.tobytes() for name in ("train", "validation", "test"))


def error_line(open_text, path, **options):
    with pytest.raises(UserError) as caught:
        open_text(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", PACKED)
def test_a_file_is_read_as_it_is_whatever_it_is_packed_in(open_text, written, name):
    path = written(name, PACKED[name](CONTENT))
    corpus = open_text(path, split=[0.8, 0.1, 0.1])
    assert content_of(corpus) == CONTENT
    assert corpus.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert corpus.name == "mine"
    assert corpus.splits["validation"] == (round(len(CONTENT) * 0.8), round(len(CONTENT) * 0.9))
    assert corpus.source == {"file": name, "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(("name", "pack"), [("t.gz", gzip.compress), ("t.xz", lzma.compress), ("t.zst", zstd)])
def test_several_streams_in_one_file_are_all_read(open_text, written, name, pack):
    assert content_of(open_text(written(name, pack(CONTENT) + pack(b"more\n") + pack(CONTENT)))) == (
        CONTENT + b"more\n" + CONTENT
    )


def test_home_is_expanded(open_text, written, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    written("mine.txt", CONTENT)
    assert content_of(open_text("~/mine.txt")) == CONTENT


@pytest.mark.parametrize("name", ["text.gz", "text.xz", "text.zst"])
@pytest.mark.parametrize("damage", ["cut", "changed", "something else"])
def test_a_damaged_packed_file_is_one_line_and_leaves_no_cache(open_text, written, tmp_path, name, damage):
    packed = PACKED[name](os.urandom(100_000))
    damaged = {
        "cut": packed[: len(packed) // 2],
        "changed": packed[:30] + bytes(byte ^ 0xFF for byte in packed[30:]),
        "something else": b"this is not packed at all",
    }[damage]
    path = written(name, damaged)
    assert error_line(open_text, path).startswith(f"{path} is damaged or not a {path.suffix} file")
    assert list(tmp_path.glob("cache/*")) == []


def test_what_cannot_be_read_is_one_line(open_text, written, tmp_path):
    assert error_line(open_text, None).startswith("data=text needs a file; type data.path=FILE")
    missing = tmp_path / "missing.txt"
    assert error_line(open_text, missing).startswith(f"data.path={missing} does not exist")
    assert error_line(open_text, "~no-such-user-here/x").startswith("data.path=~no-such-user-here/x: there is no user ")
    assert error_line(open_text, tmp_path) == f"data.path={tmp_path} is a folder; give a file"
    empty = written("empty.txt", b"")
    assert error_line(open_text, empty) == f"data.path={empty} is empty; give a file with text in it"
    packed_nothing = written("nothing.gz", gzip.compress(b""))
    assert error_line(open_text, packed_nothing).startswith(f"data.path={packed_nothing} unpacks to nothing")
    os.mkfifo(tmp_path / "pipe")
    assert error_line(open_text, tmp_path / "pipe").startswith(f"data.path={tmp_path / 'pipe'} is a pipe or device")


def test_a_file_without_permission_is_one_line(open_text, written, monkeypatch):
    path = written("secret.txt", CONTENT)
    # The administrator may read everything, so the system's refusal is played here.
    monkeypatch.setattr("pathlib.Path.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert error_line(open_text, path).startswith(f"cannot read {path}: Permission denied; check the file")


def test_a_missing_package_is_named(open_text, written, monkeypatch):
    if sys.version_info >= (3, 14):
        return  # the standard library reads .zst there
    path = written("text.zst", zstd(CONTENT))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "needs the package zstandard; pip install zstandard, or unpack the file" in error_line(open_text, path)


def test_a_split_that_is_none_and_a_file_too_small_for_it(open_text, written):
    path = written("text.txt", CONTENT)
    assert error_line(open_text, path, split=[0.9, 0.2]).startswith("data.split=[0.9, 0.2] is not a split")
    tiny = written("tiny.txt", b"ab")
    assert error_line(open_text, tiny).startswith(f"the validation split of {tiny} is empty (2 bytes in all")


def test_an_unknown_source_is_one_line():
    with pytest.raises(UserError, match=r"data\.source=tex is unknown; choose one of stdlib, enwik8, code, text"):
        open_corpus(DataConfig(source="tex"))


@pytest.mark.parametrize("name", ["a\nb.txt", 'it\'s "x".txt', "ü😀 {y} $z=1,.txt"])
def test_names_arrive_as_typed(open_text, written, name):
    corpus = open_text(written(name, CONTENT))
    assert corpus.source["file"] == name and content_of(corpus) == CONTENT


def test_a_name_that_is_not_utf8_is_one_line_and_records_could_hold_it(open_text, written):
    path = written(os.fsdecode(b"caf\xe9.txt"), CONTENT)
    assert open_text(path).source["file"] == "caf\\xe9.txt"
    for override in (f"data.path={path}", f"data.path='{path}'", f"run_dir={path}"):
        with pytest.raises(UserError, match=r"=\S*/caf\\xe9\.txt'? is not UTF-8, .*; rename the file"):
            compose("train", ["data=text", "data.path=x", override])
