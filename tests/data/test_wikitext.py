"""`data=wikitext103`: the same bytes from the data set, Parquet, Arrow and official text files, in official splits."""

import gzip
import lzma
import shutil
import sys
import zipfile

import pyarrow
import pytest
from pyarrow import ipc, parquet

from configs.compose import compose
from configs.errors import UserError
from configs.schema import DataConfig
from data import wikitext
from data.cuts import SPLITS
from data.sources import open_corpus

# Bytes of the official files: a space before each word, and before each newline.
RAW = {
    "train": b" \n = Robert Boulter = \n \n Robert Boulter is an English film , television and stage actor . \n",
    "validation": " \n = Homarus gammarus = \n \n Homarus gammarus costs 1 @.@  kuna / é . \n".encode(),
    "test": b" \n = Theatre = \n \n A theatre . \n \n",
}
FILES = {"train": "wiki.train.raw", "validation": "wiki.valid.raw", "test": "wiki.test.raw"}
WORDS = {"train": 4 + 16, "validation": 4 + 13, "test": 5 + 6}


def rows_of(split):
    """As the data set has them: a row a line, an empty one for a blank line."""
    lines = RAW[split].decode().splitlines(keepends=True)
    return [{"text": "" if line == " \n" else line} for line in lines]


def column_of(split):
    return pyarrow.table({"text": [row["text"] for row in rows_of(split)]})


@pytest.fixture
def open_wikitext(tmp_path):
    def open_wikitext(path=None, raw=True, **more):
        cache = {"cache_dir": str(tmp_path / "cache")}
        return open_corpus(DataConfig("wikitext103", "wikitext103", path and str(path), raw=raw, **cache, **more))

    return open_wikitext


@pytest.fixture
def folder(tmp_path):
    """A folder of official text files."""
    folder = tmp_path / "official"
    folder.mkdir()
    for split, name in FILES.items():
        (folder / name).write_bytes(RAW[split])
    return folder


def contents_of(corpus):
    return {name: corpus.text(name).tobytes() for name in SPLITS}


def error_line(call, *arguments, **more):
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_official_files_as_they_are_with_lines_and_words_counted(open_wikitext, folder):
    corpus = open_wikitext(folder)
    assert contents_of(corpus) == RAW
    assert corpus.source["lines"] == {"train": 4, "validation": 4, "test": 5}
    assert corpus.source["words"] == WORDS
    assert corpus.source["files"]["validation"] == ["wiki.valid.raw"]
    assert corpus.bytes_per_split() == {name: len(text) for name, text in RAW.items()}


def test_every_form_gives_the_same_corpus(open_wikitext, folder, tmp_path):
    wanted = open_wikitext(folder).sha256
    packed = tmp_path / "packed"
    packed.mkdir()
    for split, (suffix, pack) in zip(FILES, (("xz", lzma.compress), ("gz", gzip.compress), ("", bytes)), strict=True):
        (packed / f"{FILES[split]}.{suffix}".rstrip(".")).write_bytes(pack(RAW[split]))
    assert open_wikitext(packed).sha256 == wanted
    hub = tmp_path / "hub"  # as `hf download` leaves it: several files to a split, beside the other text
    (hub / "wikitext-103-raw-v1").mkdir(parents=True)
    (hub / "wikitext-103-v1").mkdir()
    for split in SPLITS:
        table = column_of(split)
        for part, rows in enumerate((table.slice(0, 2), table.slice(2))):
            parquet.write_table(rows, hub / "wikitext-103-raw-v1" / f"{split}-0000{part}-of-00002.parquet")
    assert open_wikitext(hub).sha256 == wanted
    streams, indexed = tmp_path / "streams", tmp_path / "indexed"
    streams.mkdir()
    for split in SPLITS:
        table = column_of(split)
        (indexed / split).mkdir(parents=True)
        with ipc.new_stream(streams / f"wikitext-{split}.arrow", table.schema) as writer:
            writer.write_table(table)
        with ipc.new_file(indexed / split / "data-00000-of-00001.arrow", table.schema) as writer:
            writer.write_table(table)
    assert open_wikitext(streams).sha256 == open_wikitext(indexed).sha256 == wanted


def test_what_the_datasets_library_saves_is_read(open_wikitext, folder, tmp_path):
    import datasets

    saved = datasets.DatasetDict({split: datasets.Dataset.from_list(rows_of(split)) for split in SPLITS})
    saved.save_to_disk(tmp_path / "saved")
    assert open_wikitext(tmp_path / "saved").sha256 == open_wikitext(folder).sha256


def test_the_word_level_text_is_spaced_as_the_official_one(open_wikitext, tmp_path):
    for split, name in FILES.items():
        (tmp_path / name.replace("raw", "tokens")).write_bytes(RAW[split])
    corpus = open_wikitext(tmp_path, raw=False)
    assert contents_of(corpus) == RAW | {"validation": RAW["validation"].replace(b"@.@  ", b"@.@ ")}
    assert corpus.source["words"] == WORDS
    assert corpus.source["respaced_lines"] == 1


@pytest.mark.parametrize("raw", [True, False])
def test_real_files_have_the_published_counts_of_words(raw, open_wikitext, wikitext2, tmp_path):
    suffix = "raw" if raw else "tokens"
    for name in ("valid", "test"):
        shutil.copy(wikitext2 / f"wiki.{name}.{suffix}.xz", tmp_path)
    shutil.copy(wikitext2 / f"wiki.valid.{suffix}.xz", tmp_path / f"wiki.train.{suffix}.xz")
    corpus = open_wikitext(tmp_path, raw=raw)
    assert corpus.source["words"] == {"train": 217_646, "validation": 217_646, "test": 245_569}
    assert corpus.source["lines"] == {"train": 3_760, "validation": 3_760, "test": 4_358}
    assert corpus.text("test").tobytes() == lzma.decompress((wikitext2 / f"wiki.test.{suffix}.xz").read_bytes())
    assert corpus.source.get("respaced_lines") == (None if raw else 0)


@pytest.mark.parametrize(("raw", "subset"), [(True, "wikitext-103-raw-v1"), (False, "wikitext-103-v1")])
def test_the_data_set_is_asked_for_at_its_pinned_revision(raw, subset, open_wikitext, folder, monkeypatch):
    import datasets

    calls = []

    def load_dataset(*arguments, revision, split):
        calls.append((*arguments, revision, split))
        return datasets.Dataset.from_list(rows_of(split))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = open_wikitext(raw=raw)
    assert calls == [("Salesforce/wikitext", subset, wikitext.REVISION, split) for split in SPLITS]
    assert corpus.source["revision"] == wikitext.REVISION and corpus.source["subset"] == subset
    if raw:
        assert corpus.sha256 == open_wikitext(folder).sha256
    calls.clear()
    assert open_wikitext(raw=raw) == corpus and calls == []


def test_offline_the_error_gives_the_command_that_fetches_it(open_wikitext, monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    line = error_line(open_wikitext, raw=False)
    assert line.startswith("cannot get wikitext-103-v1 of Salesforce/wikitext at revision b08601e0 from https")
    command = f"hf download Salesforce/wikitext --repo-type dataset --revision {wikitext.REVISION}"
    assert f"{command} --include 'wikitext-103-v1/*' --local-dir wikitext; and here add data.path=wikitext" in line
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in error_line(open_wikitext)


def test_mistakes_are_one_line(open_wikitext, folder, tmp_path):
    assert "is not a folder" in error_line(open_wikitext, folder / FILES["test"])
    assert "whose splits are official" in error_line(open_wikitext, folder, split=[0.8, 0.1, 0.1])
    line = error_line(open_wikitext, folder, raw=False)
    assert "no wiki.train.tokens" in line and "type data.raw=true" in line
    (folder / FILES["test"]).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    assert "wiki.test.raw is a Git LFS pointer" in error_line(open_wikitext, folder)
    (folder / FILES["test"]).unlink()
    assert "has no file of the test split" in error_line(open_wikitext, folder)
    (tmp_path / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for split in ("validation", "test"):
        parquet.write_table(pyarrow.table({"other": ["a"]}), tmp_path / f"{split}-0.parquet")
    parquet.write_table(column_of("train"), tmp_path / "train.parquet")
    assert "has no column text (it has other)" in error_line(open_wikitext, tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "train.parquet is a Git LFS pointer" in error_line(open_wikitext, tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"nothing of the kind")
    assert "not a Parquet file" in error_line(open_wikitext, tmp_path)


def test_the_official_zip_is_to_be_unpacked_first(open_wikitext, tmp_path):
    with zipfile.ZipFile(tmp_path / "wikitext-103-raw-v1.zip", "w") as archive:
        archive.writestr("wikitext-103-raw/wiki.train.raw", RAW["train"])
    line = error_line(open_wikitext, tmp_path / "wikitext-103-raw-v1.zip")
    assert "is a zip file; type unzip" in line


def test_the_key_is_of_this_corpus_alone():
    assert compose("train", ["data=wikitext103"]).data.raw is True
    assert compose("train", ["data=wikitext103", "data.raw=false"]).data.raw is False
    with pytest.raises(UserError, match="it needs data=wikitext103"):
        compose("train", ["data=enwik8", "data.raw=false"])
