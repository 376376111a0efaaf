"""Files of text and of pairs, damaged: what is read is all that is whole, or one line says what is not."""

import pyarrow
from hypothesis import strategies as st
from pyarrow import parquet

from configs.schema import ParallelConfig
from data.columns import arrow_rows, json_rows, parquet_pairs, parquet_rows
from data.pair_files import pair_files

LANGUAGES = ("en", "de")
LINES = [{"content": "a é"}, {"content": "", "n": 1}, {"content": None}, {"content": "b\nc", "score": 0.5}]


def test_json_lines(damaged, tmp_path):
    path = tmp_path / "a.jsonl"
    good = st.sampled_from(LINES).map(lambda line: (damaged.json(line), line["content"] or ""))
    bad = damaged.values(LINES).map(damaged.json) | damaged.bytes(list(map(damaged.json, LINES)))

    def read(given):
        path.write_bytes(b"\n".join(line for line, _ in given))
        left = iter(list(json_rows(path, "content")))
        assert all(any(text == other for other in left) for _, text in given if text is not None)

    damaged.only_clean_errors(80, st.lists(good | bad.map(lambda line: (line, None)), min_size=1, max_size=4), read)


VALUES = {
    pyarrow.string(): st.text(max_size=9) | st.none(),
    pyarrow.large_string(): st.text(max_size=9),
    pyarrow.binary(): st.binary(max_size=5) | st.none(),
    pyarrow.int64(): st.integers(-9, 9),
    pyarrow.float64(): st.floats(),
    pyarrow.null(): st.none(),
    pyarrow.list_(pyarrow.string()): st.lists(st.text(max_size=3), max_size=2) | st.none(),
    pyarrow.map_(pyarrow.string(), pyarrow.string()): st.dictionaries(st.sampled_from(LANGUAGES), st.text(max_size=3)),
    pyarrow.struct({"en": pyarrow.string(), "de": pyarrow.string()}): st.fixed_dictionaries(
        {"en": st.text(max_size=3) | st.none(), "de": st.text(max_size=3)}
    ),
    pyarrow.struct({"en": pyarrow.string(), "fr": pyarrow.string()}): st.fixed_dictionaries(
        {"en": st.text(max_size=3), "fr": st.text(max_size=3)}
    ),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()): st.text(max_size=3),
}


@st.composite
def tables(draw):
    """Columns of all types under the names that are read, and under others; a name may be there twice."""
    n_rows = draw(st.integers(0, 4))
    names = draw(st.lists(st.sampled_from(["content", "translation", "en", "de", "\x1b[2J"]), min_size=1, max_size=3))
    columns = []
    for _ in names:
        kind = draw(st.sampled_from(list(VALUES)))
        columns.append(pyarrow.array(draw(st.lists(VALUES[kind], min_size=n_rows, max_size=n_rows)), kind))
    return pyarrow.table(columns, names=names)


def written(table, path):
    parquet.write_table(table, path.with_suffix(".parquet"))
    with pyarrow.ipc.new_stream(str(path.with_suffix(".arrow")), table.schema) as writer:
        writer.write_table(table)
    with pyarrow.ipc.new_file(str(path.with_suffix(".file")), table.schema) as writer:
        writer.write_table(table)


def test_tables_of_any_type(damaged, tmp_path):
    path = tmp_path / "a"

    def read(given):
        table, how = given
        written(table, path)
        if how == "pairs":
            assert len(list(parquet_pairs(path.with_suffix(".parquet"), LANGUAGES))) == len(table)
        else:
            rows = parquet_rows if how == ".parquet" else arrow_rows
            assert len(list(rows(path.with_suffix(how), "content"))) == len(table)

    hows = st.sampled_from(("pairs", ".parquet", ".arrow", ".file"))
    damaged.only_clean_errors(60, st.tuples(tables(), hows), read)


def test_bytes_of_tables(damaged, tmp_path):
    path = tmp_path / "a"
    written(pyarrow.table({"content": ["one", "two é", None] * 3}), path)
    rows = {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".parquet", ".arrow", ".file")}
    pairs = pyarrow.table({"translation": [{"en": "a", "de": "b"}] * 3})
    written(pairs, path)
    rows["pairs"] = path.with_suffix(".parquet").read_bytes()

    def read(given):
        how, content = given
        path.write_bytes(content)
        if how == "pairs":
            list(parquet_pairs(path, LANGUAGES))
        else:
            list((parquet_rows if how == ".parquet" else arrow_rows)(path, "content"))

    inputs = st.one_of([st.tuples(st.just(how), damaged.bytes([content])) for how, content in rows.items()])
    damaged.only_clean_errors(100, inputs, read)


def test_pairs_in_texts_and_tables(damaged, tmp_path):
    texts = [b"one\ntwo\n\nfour", b"\xef\xbb\xbfeins\r\nzwei\r\n\r\nvier\r\n"]
    table = b"en\tde\none\teins\n\ntwo\tzwei\r\n"
    config = ParallelConfig("mine", "multi30k", str(tmp_path))
    names = ("train.en", "train.de", "train.tsv")

    def read(given):
        for name, content in zip(names, given, strict=True):
            (tmp_path / name).unlink(missing_ok=True)
            if content is not None:
                (tmp_path / name).write_bytes(content)
        pairs = list(pair_files(config, "train").pairs())
        # Every line of what is read has its place.
        content = given[0] if given[0] is not None else given[2]
        ends = content.removesuffix(b"\n").count(b"\n") + 1
        assert len(pairs) == ends if given[0] is not None else len(pairs) <= ends

    two = st.tuples(damaged.bytes(texts[:1]) | st.just(texts[0]), damaged.bytes(texts[1:]), st.none())
    one = st.tuples(st.none(), st.none(), damaged.bytes([table]))
    damaged.only_clean_errors(80, two | one, read)
