"""`data=stdlib`: the running Python's own source, whole files, bytes as they are."""

import hashlib
import platform
import sysconfig
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from data.standard_library import open_standard_library, source_files


@pytest.fixture
def library(tmp_path):
    """A small library with everything in it that is to be left out."""
    root = tmp_path / "lib"
    kept = {f"package{i % 5}/module{i}.py": b"# file %d\r\nx = %d\n" % (i, i) * (i + 1) for i in range(60)}
    kept |= {
        "os.py": b"no newline at the end",
        "empty.py": b"",
        "test_names_are_fine.py": b"y = 1\n",
        "testing.py": b"z",
    }
    left_out = [
        "test/test_os.py",
        "unittest/test/test_case.py",
        "package1/tests/a.py",
        "idlelib/idle_test/a.py",
        "lib2to3/tests/data/a.py",
        "site-packages/torch/a.py",
        "dist-packages/a.py",
        "__pycache__/a.py",
        "ensurepip/_bundled/a.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "config-3.11-x86_64-linux-gnu/python-config.py",
        "package1/data.txt",
        "package1/module.pyc",
    ]
    for name, content in [*kept.items(), *((name, b"left out") for name in left_out)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root, kept


def config(tmp_path, **options):
    return DataConfig(name="stdlib", source="stdlib", cache_dir=str(tmp_path / "cache"), **options)


def test_each_file_is_once_whole_in_one_split_in_the_order_of_paths(library, tmp_path):
    root, kept = library
    corpus = open_standard_library(config(tmp_path, split=[0.6, 0.2, 0.2]), root)
    assert source_files(root) == sorted(kept)
    left = {name: content for name, content in kept.items() if content}
    for split in corpus.splits:
        rest, last = corpus.split(split).tokens.tobytes(), ""
        while rest:  # a split is nothing but files, one after the other, in sorted order
            name = next(name for name in sorted(left) if name > last and rest.startswith(left[name]))
            rest, last = rest[len(left.pop(name)) :], name
    assert left == {}
    assert corpus.source == {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "files": len(kept),
        "bytes": sum(map(len, kept.values())),
    }
    shares = [n / corpus.source["bytes"] for n in corpus.bytes_per_split().values()]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.05)


def test_an_edited_library_is_another_corpus(library, tmp_path):
    root, _ = library
    first = open_standard_library(config(tmp_path), root)
    assert open_standard_library(config(tmp_path), root) == first
    (root / "os.py").write_bytes(b"no newline at the END")  # as long as before
    assert open_standard_library(config(tmp_path), root).sha256 != first.sha256


def test_the_running_python_has_megabytes_of_it(tmp_path):
    corpus = open_standard_library(config(tmp_path))
    sizes = corpus.bytes_per_split()
    assert 5e6 < sum(sizes.values()) == corpus.source["bytes"] < 5e7
    assert corpus.source["files"] > 300
    shares = [n / corpus.source["bytes"] for n in sizes.values()]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.02)
    whole = b"".join(corpus.split(name).tokens.tobytes() for name in sizes)
    assert hashlib.sha256(whole).hexdigest() == corpus.sha256
    root = Path(sysconfig.get_path("stdlib"))
    for name in ("os.py", "asyncio/events.py", "json/decoder.py"):
        assert whole.count((root / name).read_bytes()) == 1
    assert b"class TestCase(" in whole and (root / "unittest" / "case.py").read_bytes() in whole


def test_what_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"data=stdlib reads no file; for a\.txt type data=text data\.path=a\.txt"):
        open_standard_library(config(tmp_path, path="a.txt"))
    with pytest.raises(UserError, match=r"this Python has no library source code at .*; use data=text"):
        open_standard_library(config(tmp_path), tmp_path / "python311.zip")
