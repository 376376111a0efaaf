"""`data=code`: documents from the pinned data set, a folder, Parquet or JSON lines, split by their content."""

import gzip
import json
import os
import socket
import sys
import zipfile

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from configs.errors import UserError
from configs.schema import DataConfig
from data import code
from data.cuts import SPLITS, split_of_document
from data.sources import open_corpus

DOCUMENTS = [f"# file {i}\r\ndef f{i}():\n    return 'é{i}'" + "\n" * (i % 2) for i in range(300)]
DOCUMENTS += [DOCUMENTS[3], ""]  # a copy, and an empty one
SPLIT = [0.6, 0.2, 0.2]


def expected():
    """The content that the documents should give, written down independently."""
    contents = dict.fromkeys(SPLITS, b"")
    for text in filter(None, DOCUMENTS):
        contents[split_of_document(text.encode(), (0.6, 0.2, 0.2))] += text.removesuffix("\n").encode() + b"\n"
    return contents


@pytest.fixture
def open_code(tmp_path):
    def open_code(path=None):
        return open_corpus(
            DataConfig(
                name="code", source="code", path=path and str(path), split=SPLIT, cache_dir=str(tmp_path / "cache")
            )
        )

    return open_code


def contents_of(corpus):
    return {name: corpus.split(name).tokens.tobytes() for name in SPLITS}


def error_line(open_code, path=None):
    with pytest.raises(UserError) as caught:
        open_code(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_parquet(path, column="content", values=DOCUMENTS):
    table = pyarrow.table({"repo_name": [f"r{i}" for i in range(len(values))], column: values})
    parquet.write_table(table, path, row_group_size=50)
    return path


def write_json_lines(path, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def rows_of(documents):
    return [{"repo_name": "r", "path": "p.py", "content": text, "license": "mit"} for text in documents]


def test_parquet_and_json_lines_give_the_same_corpus(open_code, tmp_path):
    first = open_code(write_parquet(tmp_path / "code.parquet"))
    assert contents_of(first) == expected()
    assert sum(first.source["documents"].values()) == 301
    assert first.source["file"] == "code.parquet"
    for name in ("file-000000000054.json.gz", "code.jsonl", "code.json"):
        assert open_code(write_json_lines(tmp_path / name, rows_of(DOCUMENTS))).sha256 == first.sha256


def test_the_data_set_is_asked_for_at_its_pinned_revision_and_then_served_from_the_cache(open_code, monkeypatch):
    import datasets

    calls = []

    def load_dataset(*arguments, **options):
        calls.append((arguments, options))
        return datasets.Dataset.from_list(rows_of(DOCUMENTS))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = open_code()
    assert contents_of(corpus) == expected()
    assert {(call[0], call[1]["revision"], call[1]["split"]) for call in calls} == {
        (("codeparrot/codeparrot-clean-valid", None), code.REVISION, "train")
    }
    assert corpus.source["dataset"] == code.DATASET and corpus.source["revision"] == code.REVISION
    calls.clear()
    assert open_code() == corpus
    assert calls == []


def test_a_data_set_that_cannot_be_had_says_what_to_type(open_code, monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    line = error_line(open_code)
    assert line.startswith(
        "cannot get codeparrot/codeparrot-clean-valid at revision 4db92d2e from https://huggingface.co"
    )
    assert "(Couldn't reach the Hub)" in line and line.endswith("--local-dir code; and here add data.path=code")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "needs the package datasets; type pip install datasets, or data.path=FOLDER" in error_line(open_code)


def test_a_folder_of_files(open_code, tmp_path):
    folder = tmp_path / "project"
    texts = {f"package/m{i:03}.py": text.encode() for i, text in enumerate(DOCUMENTS)}
    left_out = {".git/config": b"x", ".hidden.py": b"x", "package/__pycache__/m.py": b"x", "image.png": b"a\0b"}
    for name, content in {**texts, **left_out}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    corpus = open_code(folder)
    assert contents_of(corpus) == expected()
    assert corpus.source == {
        "folder": "project",
        "files": 301,
        "left_out": {"not text": 1},
        "documents": {name: corpus.source["documents"][name] for name in SPLITS},
    }
    (folder / "package" / "m000.py").write_bytes(b"changed")
    assert open_code(folder).sha256 != corpus.sha256


def test_what_cannot_be_read_is_one_line(open_code, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no text files; give a folder with some" in error_line(open_code, tmp_path / "empty")
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "one.py").write_text("print()\n")
    assert "is empty: a document goes to a split by its hash" in error_line(open_code, tmp_path / "few")
    assert "missing does not exist" in error_line(open_code, tmp_path / "missing")
    (tmp_path / "a.csv").write_text("x")
    assert "is not a folder, .parquet or .json.gz file; for a plain text" in error_line(open_code, tmp_path / "a.csv")

    wrong = write_parquet(tmp_path / "wrong.parquet", column="text")
    assert "has no column content (it has repo_name, text)" in error_line(open_code, wrong)
    numbers = write_parquet(tmp_path / "numbers.parquet", values=[1, 2])
    assert "holds a int in content where text should be" in error_line(open_code, numbers)
    cut = write_parquet(tmp_path / "cut.parquet")
    cut.write_bytes(cut.read_bytes()[:-20])
    assert "cut.parquet is damaged or not a Parquet file" in error_line(open_code, cut)

    lines = write_json_lines(tmp_path / "wrong.jsonl", [*rows_of(["a"]), {"text": "b"}])
    assert f"line 2 of {lines} has no field content" in error_line(open_code, lines)
    lines.write_text('{"content": "a"}\n{"content": \n')
    assert f"line 2 of {lines} is not JSON" in error_line(open_code, lines)
    packed = write_json_lines(tmp_path / "cut.json.gz", rows_of(DOCUMENTS))
    packed.write_bytes(packed.read_bytes()[:-20])
    assert "cut.json.gz is damaged or not a .gz file" in error_line(open_code, packed)
    assert "the train split of" in error_line(open_code, write_json_lines(tmp_path / "1.json", rows_of(["a"])))


def test_a_folder_is_not_left_by_links_and_what_is_no_text_is_counted(open_code, tmp_path, monkeypatch, caplog):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("secret = 1\n")
    folder = tmp_path / "project"
    (folder / "package").mkdir(parents=True)
    for i, text in enumerate(DOCUMENTS[:200]):
        (folder / "package" / f"m{i:03}.py").write_text(text, newline="")
    (folder / "A.py").write_text("upper = 1\n")
    (folder / "a.py").write_text("lower = 1\n")
    (folder / os.fsdecode(b"caf\xe9.py")).write_text("latin = 1\n")
    plain = open_code(folder)
    assert plain.source["files"] == 203 and "left_out" not in plain.source
    assert sum(content.count(b"latin = 1\n") for content in contents_of(plain).values()) == 1
    (folder / "link.py").symlink_to(tmp_path / "outside" / "secret.py")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to(folder)
    (folder / "broken.py").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.py")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.py")
        (folder / "pointer.py").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        (folder / "packed.py").write_bytes(gzip.compress(b"x = 1\n"))
        corpus = open_code(folder)
    assert corpus.sha256 == plain.sha256
    assert corpus.source["left_out"] == {"links": 4, "not text": 2, "pipes, sockets or devices": 2}
    assert f"data.path={folder}: left out: 4 links, 2 not text, 2 pipes, sockets or devices" in caplog.text


def test_a_file_that_may_not_be_read_is_counted(open_code, tmp_path, monkeypatch):
    for i, text in enumerate(DOCUMENTS[:100]):
        (tmp_path / f"m{i:03}.py").write_text(text, newline="")
    real = code.Path.read_bytes

    def read_bytes(path):  # the administrator may read everything, so the system's refusal is played here
        if path.name == "m007.py":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(code.Path, "read_bytes", read_bytes)
    corpus = open_code(tmp_path)
    assert corpus.source["files"] == 99 and corpus.source["left_out"] == {"unreadable": 1}


def test_a_folder_of_shards_is_read_in_the_order_of_their_names(open_code, tmp_path):
    folder = tmp_path / "shards"
    (folder / "data").mkdir(parents=True)
    write_parquet(folder / "data" / "train-00000.parquet", values=DOCUMENTS[:100])
    write_json_lines(folder / "data" / "train-00001.jsonl", rows_of(DOCUMENTS[100:250]))
    write_json_lines(folder / "data" / "train-00002.json.gz", rows_of(DOCUMENTS[250:]))
    (folder / "README.md").write_text("# a data set\n")
    (folder / "dataset_info.json").write_text("{}")
    assert contents_of(open_code(folder)) == expected()
    for i in range(20):
        (folder / f"a{i}.py").write_text(f"x = {i}\n")  # source code with fixtures of these forms is source code
    assert b'{"repo_name"' in b"".join(contents_of(open_code(folder)).values())


def test_files_beside_shards_are_not_trained_on_in_their_place(open_code, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    write_parquet(folder / "train-00000.parquet", values=DOCUMENTS)
    (folder / "_SUCCESS").write_text("")  # Spark's
    assert contents_of(open_code(folder)) == expected()
    (folder / "stats.csv").write_text("documents,bytes\n400,40000\n")
    assert "(train-00000.parquet), and smaller others (stats.csv): give a folder" in error_line(open_code, folder)


def test_json_of_a_program_is_source_code(open_code, tmp_path):
    folder = tmp_path / "program"
    folder.mkdir()
    for i in range(40):
        (folder / f"package{i}.json").write_text(f'{{"name": "program",\n "version": {i}}}\n')
    assert b'"version": 7' in b"".join(contents_of(open_code(folder)).values())
    for path in folder.iterdir():
        path.unlink()
    write_json_lines(folder / "A.JSON", rows_of(DOCUMENTS))
    assert contents_of(open_code(folder)) == expected()


def test_the_content_says_what_a_file_of_documents_is(open_code, tmp_path):
    wanted = open_code(write_parquet(tmp_path / "a.parquet")).sha256
    (tmp_path / "a.parquet").rename(tmp_path / "no_suffix")
    assert open_code(tmp_path / "no_suffix").sha256 == wanted
    lines = write_json_lines(tmp_path / "b.jsonl", rows_of(DOCUMENTS)).read_bytes()
    (tmp_path / "c.download").write_bytes(zstandard.compress(lines))
    assert open_code(tmp_path / "c.download").sha256 == wanted
    with zipfile.ZipFile(tmp_path / "d.jsonl", "w") as archive:
        archive.writestr("a.jsonl", lines)
    assert "d.jsonl is a zip archive" in error_line(open_code, tmp_path / "d.jsonl")
