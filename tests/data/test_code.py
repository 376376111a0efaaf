"""`data=code`: documents from the pinned data set, a folder, Parquet or JSON lines, split by their content."""

import gzip
import json
import sys

import pyarrow
import pytest
from pyarrow import parquet

from configs.errors import UserError
from configs.schema import DataConfig
from data import code, open_corpus
from data.cuts import SPLITS, split_of_document

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
    assert "needs the package datasets; pip install datasets" in error_line(open_code)


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
