"""Text in columns, as the common tools write it: JSON lines, Parquet, Arrow."""

import json
import logging

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from configs.errors import UserError
from data import columns
from data.columns import arrow_rows, json_rows, parquet_pairs, parquet_rows

TEXTS = ["ein é", "", "zwei\nZeilen", '"drei"']


@pytest.fixture(autouse=True)
def told_anew():
    columns._tell.cache_clear()


def error_line(read, path, column="content"):
    with pytest.raises(UserError) as caught:
        list(read(path, column))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.binary(),
        pyarrow.large_binary(),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    ],
    ids=str,
)
def test_every_type_that_holds_text(kind, tmp_path):
    array = pyarrow.array(TEXTS, pyarrow.string())
    table = pyarrow.table({"content": array.dictionary_encode() if "dictionary" in str(kind) else array.cast(kind)})
    if kind != pyarrow.string_view():
        parquet.write_table(table, tmp_path / "a.parquet")
        assert list(parquet_rows(tmp_path / "a.parquet", "content")) == TEXTS
    with pyarrow.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert list(arrow_rows(tmp_path / "a.arrow", "content")) == TEXTS


def test_a_null_is_an_empty_text_and_counted(tmp_path, caplog):
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"content": null}\n{"content": "b"}\n')
    table = pyarrow.table({"translation": [{"en": "a", "de": "b"}, {"en": None, "de": "c"}, None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with caplog.at_level(logging.WARNING):
        assert list(json_rows(lines, "content")) == ["", "b"] == list(json_rows(lines, "content"))
        pairs = list(parquet_pairs(tmp_path / "a.parquet", ("en", "de")))
    assert pairs == [("a", "b"), ("", "c"), ("", "")]
    assert [record.getMessage() for record in caplog.records] == [
        f"{lines}: 1 null value of content read as empty text",
        f"{tmp_path / 'a.parquet'}: 3 null values of en or de read as empty text",
    ]


def test_json_lines_as_the_common_tools_write_them(tmp_path):
    rows = [json.dumps({"content": text, "score": float("nan"), "n": int("9" * 400)}).encode() for text in TEXTS]
    content = b"\xef\xbb\xbf" + b"\r\n\r\n".join(rows) + b"\r\n  \r\n"
    for name, packed in (("a.jsonl", content), ("b.txt", zstandard.compress(content)), ("c", content.rstrip())):
        (tmp_path / name).write_bytes(packed)
        assert list(json_rows(tmp_path / name, "content")) == TEXTS


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 2 of {} is not JSON (nested too deeply)"),
        (b'{"content": "a", "n": ' + b"9" * 5000 + b"}", "line 2 of {} is not JSON (Exceeds the limit"),
        (b'{"content": 1e999}', "{} holds a float in content where text should be"),
        (b'["a"]', "line 2 of {} is a JSON array; give one object a line: type jq -c"),
        (b"[", "line 2 of {} is not JSON (Expecting value: line 1 column 2 (char 1)); give one object a line: type jq"),
        (b'"content"', "line 2 of {} has no field content"),
        (b'{"content": "\xff"}', "line 2 of {} is not JSON ('utf-8' codec can't decode"),
        (b'{"content": "a"', "line 2 of {} is not JSON"),
    ],
    ids=range(8),
)
def test_what_is_no_json_line_is_named_with_its_line(line, says, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"content": "a"}\n' + line + b"\n")
    assert error_line(json_rows, path).startswith(says.format(path))


def test_damaged_arrow_offsets_and_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.arrow"
    batch = pyarrow.record_batch({"content": ["one", "two", "three"]})
    offsets = pyarrow.py_buffer((0).to_bytes(4, "little") + b"".join(n.to_bytes(4, "little") for n in (3, 2**30, 11)))
    column = pyarrow.Array.from_buffers(pyarrow.string(), 3, [None, offsets, batch.column(0).buffers()[2]])
    with pyarrow.ipc.new_stream(str(path), batch.schema) as writer:
        writer.write_batch(pyarrow.RecordBatch.from_arrays([column], ["content"]))
    assert "is damaged or not an Arrow file" in error_line(arrow_rows, path)
    parquet.write_table(pyarrow.table({"content": [b"a", b"\xff"]}), tmp_path / "a.parquet")
    assert "holds bytes in content that are not UTF-8" in error_line(parquet_rows, tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pyarrow.string(), ["a"]),
        (pyarrow.list_(pyarrow.string()), [["a", "b"]]),
        (pyarrow.map_(pyarrow.string(), pyarrow.string()), [{"en": "a", "de": "b"}]),
        (pyarrow.struct({"en": pyarrow.string(), "fr": pyarrow.string()}), [{"en": "a", "fr": "b"}]),
    ],
    ids=["string", "list", "map", "other languages"],
)
def test_a_translation_without_a_language_is_no_empty_text(kind, values, tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"translation": pyarrow.array(values, kind)}), path)
    has = "translation.en, translation.fr" if "fr" in str(kind) else "none"
    missing = "de" if "fr" in str(kind) else "en"
    line = error_line(parquet_pairs, path, ("en", "de"))
    assert line.startswith(f"{path} has no column translation.{missing} (it has {has})")


def test_two_columns_of_the_name_that_is_read(tmp_path):
    path, table = tmp_path / "a", pyarrow.table([["a"], ["b"]], names=["content", "content"])
    parquet.write_table(table, path)
    assert "has 2 columns content (it has content, content)" in error_line(parquet_rows, path)
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    assert "has 2 columns content (it has content, content)" in error_line(arrow_rows, path)


def test_a_column_that_repeats_one_long_text_is_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("data.unpacking.NEVER_REFUSED", 2_000_000)
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"content": ["a" * (1 << 16)] * 80}), path)
    assert path.stat().st_size < 1 << 14
    assert "unpacks to more than 2 MB" in error_line(parquet_rows, path)
