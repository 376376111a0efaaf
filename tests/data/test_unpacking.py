"""The content of files: compressed ones by what they hold, several streams, padding; what is no text is refused."""

import bz2
import gzip
import io
import lzma
import shutil
import sqlite3
import tarfile
import zipfile
import zlib

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from configs.compose import compose, config_hash
from configs.errors import UserError
from configs.schema import DataConfig
from data import unpacking
from data.lines import text_lines
from data.other_text import read_text
from data.sources import open_corpus
from data.tokenizers import Tokenizer, open_tokenizer
from data.unpacking import NotText, compression_of, unpacked_chunks

TEXT = b"".join(b"line %d of a text\n" % k for k in range(2000))
HALF = len(TEXT) // 2


def long_window(content):
    """As `zstd --long=31` writes a stream whose size it does not know."""
    parameters = zstandard.ZstdCompressionParameters(window_log=31, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(content) + packer.flush()


def alone(content):
    return lzma.compress(content, format=lzma.FORMAT_ALONE)


def skippable(content):
    return b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(content)


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress, "lzma": alone}


def read(path):
    return b"".join(unpacked_chunks(path))


def error_line(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def written(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("codec", PACKED)
def test_compressed_content_is_unpacked_whatever_its_name_and_its_streams(codec, written):
    pack = PACKED[codec]
    for name, content in {
        "plain.txt": pack(TEXT),
        "no_suffix": pack(TEXT[:HALF]) + pack(b"") + pack(TEXT[HALF:]),
        f"padded.{codec}": pack(TEXT) + b"\0" * 4096,
        "between": pack(TEXT[:HALF]) + b"\0" * 8 + pack(TEXT[HALF:]) + b"\0" * 4,
        "another.gz": pack(TEXT),
    }.items():
        path = written(name, content)
        assert read(path) == TEXT, name
        assert compression_of(path) == codec, name


@pytest.mark.parametrize("codec", PACKED)
def test_what_is_cut_or_followed_by_something_else_is_damaged(codec, written):
    packed = PACKED[codec](TEXT)
    for content in (packed[:-3], packed[: len(packed) // 2], packed + b"something else"):
        if content == packed[:-3] and codec == "lzma":
            content = packed[:-30]
        assert f"is damaged or not a .{codec} file" in error_line(read, written("file.txt", content))
    line = error_line(read, written(f"plain.{codec}", TEXT))
    assert "does not begin as one" in line and "rename it if it is plain text" in line


def test_windows_of_two_gigabytes_and_frames_to_be_skipped(written):
    assert read(written("long.zst", long_window(TEXT))) == TEXT
    assert read(written("skip.zst", skippable(TEXT))) == TEXT


def test_bytes_that_only_look_like_a_kind_are_read_as_they_are(written):
    for content in (
        b"ORC and elves\n",
        b"LZIP\n",
        b"PARENT\n",
        b"PAR100\n",
        b"GGUF is a format\n",
        b"BZh9 no\n",
        b"x^2\n" * 9,
    ):
        assert read(written("text.txt", content)) == content
    for content in (
        b"\xff" * 100,
        b"\0" * 2000,
        b"\xef\xbb\xbftext\n",
        b"\x00\x01binary",
        b"x\x9c\xff" * 9,
        b"070701 \n",
        b"070701,070702,070707\n",
        b"# xet versions of a tool\n",
        "x^*é".encode(),
        "Çquelque chose".encode("latin-1"),
    ):
        assert read(written("bytes.txt", content)) == content


def archive(form):
    file = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("../../etc/escaped", TEXT)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode=f"w:{form}") as packed:
        member = tarfile.TarInfo("../escaped")
        member.size = len(TEXT)
        packed.addfile(member, io.BytesIO(TEXT))
    return file.getvalue()


def table(write):
    file = io.BytesIO()
    write(pyarrow.table({"content": ["a", "b"]}), file)
    return file.getvalue()


def arrow(new):
    def write(rows, file):
        with new(file, rows.schema) as writer:
            writer.write_table(rows)

    return table(write)


def database(tmp_path):
    connection = sqlite3.connect(tmp_path / "made.db")
    connection.execute("create table t (x)")
    connection.commit()
    return (tmp_path / "made.db").read_bytes()


REFUSED = {
    "a zip archive": lambda _: archive("zip"),
    "a tar archive": lambda _: archive(""),
    "compressed by gzip, and inside a tar archive": lambda _: archive("gz"),
    "compressed by xz, and inside a tar archive": lambda _: archive("xz"),
    "compressed twice": lambda _: gzip.compress(lzma.compress(TEXT)),
    "a 7z archive": lambda _: b"7z\xbc\xaf\x27\x1c\0\x04" + TEXT,
    "a rar archive": lambda _: b"Rar!\x1a\x07\x01\0" + TEXT,
    "a PDF": lambda _: b"%PDF-1.7\n" + TEXT,
    "a Parquet file": lambda _: table(parquet.write_table),
    "an Arrow file": lambda _: arrow(pyarrow.ipc.new_file),
    "an Arrow file, not": lambda _: arrow(pyarrow.ipc.new_stream),
    "an SQLite file": database,
    "a PNG image": lambda _: b"\x89PNG\r\n\x1a\n" + TEXT,
    "a program": lambda _: b"\x7fELF" + TEXT,
    "compressed by lz4, which is not read here; type lz4 -d": lambda _: b"\x04\x22\x4d\x18" + TEXT,
    "compressed by lz4, which": lambda _: b"\x02\x21\x4c\x18" + TEXT,
    "compressed by lrzip": lambda _: b"LRZI\0\x06" + TEXT,
    "compressed by zlib": lambda _: zlib.compress(TEXT),
    "a cpio archive": lambda _: b"070701" + b"0" * 104 + b"text.txt\0\0" + TEXT,
    "a cabinet archive": lambda _: b"MSCF" + bytes(32) + TEXT,
    "a Git LFS pointer, not": lambda _: b"version https://hawser.github.com/spec/v1\noid sha256:1\nsize 2\n",
    "a git-annex pointer, not": lambda _: b"../../.git/annex/objects/a/b/SHA256E-s3--a.txt/SHA256E-s3--a.txt",
    "a Xet pointer": lambda _: b"# xet version 0\nfilesize = 37\nhash = 'a304afb96060aad90'\n",
    "a Git LFS pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
    "a git-annex pointer": lambda _: b"/annex/objects/SHA256E-s1048576--ab.txt\n",
    "a DVC pointer": lambda _: b"outs:\n- md5: a304afb96060aad90\n  size: 37\n  path: text.txt\n",
    "UTF-16 text": lambda _: "\ufefftext\n".encode("utf-16-le"),
    "UTF-16 text,": lambda _: "\ufefftext\n".encode("utf-16-be"),
    "UTF-32 text": lambda _: "\ufefftext\n".encode("utf-32-le"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_is_no_text_is_refused_by_every_reader_and_its_bytes_are_read_on_request(told, written, tmp_path):
    content = REFUSED[told](tmp_path)
    path = written("it's text.txt", content)
    with pytest.raises(NotText):
        compression_of(path)
    line = error_line(read, path)
    assert line.startswith(f"{path} is {told}") and "; " in line and "FILE" not in line
    assert "escaped" not in {found.name for found in tmp_path.rglob("*")}
    for reader in (lambda: list(text_lines(path)), lambda: read_text(str(path), Tokenizer(), "data.text")):
        assert error_line(reader) == line
    # Compressed text of several streams is told when its unpacked beginning is looked at.
    assert f"{path} is " in error_line(open_tokenizer, str(path))

    def config(**more):
        return DataConfig("m", "text", str(path), [0.5, 0.25, 0.25], cache_dir=str(tmp_path / "cache"), **more)

    assert error_line(open_corpus, config()) == f"{line}, or type data.as_bytes=true for its bytes as they are"
    corpus = open_corpus(config(as_bytes=True))
    assert b"".join(corpus.text(name).tobytes() for name in corpus.splits) == content


def test_bytes_as_they_are_is_a_key_of_this_source_that_moves_no_hash():
    plain, as_bytes = (compose("train", ["data=text", "data.path=x", *more]) for more in ([], ["data.as_bytes=true"]))
    assert plain.data.as_bytes is False and config_hash(plain) != config_hash(as_bytes)
    with pytest.raises(UserError, match=r"data\.as_bytes changes nothing here: it needs data=text"):
        compose("train", ["data=enwik8", "data.as_bytes=true"])


@pytest.fixture
def small_limit(monkeypatch):
    assert unpacking.NEVER_REFUSED == 64 << 20
    monkeypatch.setattr(unpacking, "NEVER_REFUSED", 2_000_000)


@pytest.mark.parametrize("codec", PACKED)
def test_a_decompression_bomb_is_stopped_and_leaves_nothing(codec, written, tmp_path, small_limit):
    path = written("bomb.txt", PACKED[codec](b"a" * (4 << 20)))
    config = DataConfig("m", "text", str(path), cache_dir=str(tmp_path / "cache"))
    line = error_line(open_corpus, config)
    assert "unpacks to more than 2 MB, over 100 times its size" in line and "unpack it first" in line
    assert list(tmp_path.glob("cache/*")) == []


def test_text_that_packs_well_is_no_bomb(written, small_limit):
    text = "".join(f"2026-11-26 12:00:00 worker {k * k} is alive\n" for k in range(50_000)).encode()
    path = written("log.xz", lzma.compress(text, preset=1))
    assert 5 < len(text) / path.stat().st_size < 100 and len(text) > 2_000_000
    assert read(path) == text


def test_lines_of_every_tool(written):
    assert list(text_lines(written("a", b"\xef\xbb\xbfone\r\ntwo\n\nlast"))) == ["one", "two", "", "last"]
    assert list(text_lines(written("b.gz", gzip.compress(b"x" * 5_000_000 + b"\ny\n")))) == ["x" * 5_000_000, "y"]


def test_a_broken_link_says_where_it_leads(tmp_path):
    (tmp_path / "gone.txt").symlink_to("/nowhere/at/all")
    (tmp_path / "annexed.txt").symlink_to("../.git/annex/objects/ab/cd/SHA256E-s3--ab.txt/SHA256E-s3--ab.txt")
    config = DataConfig("m", "text", str(tmp_path / "gone.txt"), cache_dir=str(tmp_path / "cache"))
    assert "is a link to /nowhere/at/all, which does not exist" in error_line(open_corpus, config)
    config.path = str(tmp_path / "annexed.txt")
    assert f"git-annex pointer, not the file itself; type git annex get {config.path}" in error_line(
        open_corpus, config
    )


def test_a_file_that_is_changed_while_it_is_read_is_not_kept(written, tmp_path, monkeypatch):
    path = written("text.txt", TEXT)

    def changed(_):
        yield TEXT
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)

    monkeypatch.setattr("data.text.unpacked_chunks", changed)
    config = DataConfig("m", "text", str(path), cache_dir=str(tmp_path / "cache"))
    assert "was changed while it was read" in error_line(open_corpus, config)
    assert list((tmp_path / "cache").iterdir()) == []
