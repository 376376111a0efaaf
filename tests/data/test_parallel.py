"""Parallel text: the same pairs from every form of file, official splits, a joint BPE, pairs kept and left out."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from configs.compose import compose
from configs.errors import UserError
from configs.schema import ParallelConfig
from data import parallel
from data.cuts import SPLITS
from data.joint_tokenizer import joint_tokenizer_of
from data.parallel import open_parallel
from data.sources import open_data, vocabulary_size

FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
EN = ["the", "phase", "of", "an", "oscillator", "drifts", "and", "locks", "to", "others"]
DE = ["die", "Phase", "eines", "Oszillators", "läuft", "weg", "und", "rastet", "ein", "ß"]


def made_pairs(n, seed):
    """Sentences of 1 to 12 words, the same on every machine."""
    state, pairs = seed, []
    for _ in range(n):
        sides = []
        for words in (EN, DE):
            state = (1103515245 * state + 12345) % 2**31
            sides.append(" ".join(words[(state >> 8) * (k + 3) % 10] for k in range(1 + (state >> 16) % 12)) + ".")
        pairs.append(tuple(sides))
    return pairs


PAIRS = {"train": made_pairs(60, 1), "validation": made_pairs(9, 2), "test": made_pairs(7, 3)}


def write_texts(folder, pairs=PAIRS, names=FILES, infix="", pack=bytes, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in names.items():
        for side, language in enumerate(("en", "de")):
            content = "".join(pair[side] + "\n" for pair in pairs[split]).encode()
            (folder / f"{name}{infix}.{language}{suffix}").write_bytes(pack(content))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_texts(tmp_path / "multi30k")


@pytest.fixture
def config(folder, tmp_path):
    def config(path=folder, source="multi30k", **more):
        own = {"vocabulary": 290, "cache_dir": str(tmp_path / "cache"), **more}
        return ParallelConfig(source, source, path and str(path), **own)

    return config


def error_line(config, tmp_path):
    """The one line of what goes wrong; no file is left half-written."""
    with pytest.raises(UserError) as caught:
        open_parallel(config)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*/*.tmp")) and not list((tmp_path / "cache").glob("multi30k-*.json"))
    return str(caught.value)


def test_sentences_are_those_of_the_files_in_order(config):
    corpus = open_parallel(config())
    for split, pairs in PAIRS.items():
        assert list(zip(corpus.source(split), corpus.target(split), strict=True)) == pairs
    assert corpus.pairs_per_split() == corpus.facts["lines"] == {split: len(pairs) for split, pairs in PAIRS.items()}
    assert corpus.languages == ("en", "de") and corpus.facts["languages"] == ["en", "de"]
    assert corpus.facts["files"]["validation"] == ["val.en", "val.de"]
    assert corpus.told() == []
    with pytest.raises(UserError, match="split=dev does not exist; choose one of train, validation, test"):
        corpus.source("dev")
    assert open_data(config()).sha256 == corpus.sha256


def test_every_form_gives_the_same_pairs(config, tmp_path):
    wanted = open_parallel(config()).sha256
    tables, nested, columns, hub = (tmp_path / name for name in ("tables", "nested", "columns", "hub"))
    for each in (tables, nested, columns, hub / "de-en"):
        each.mkdir(parents=True)
    for split, name in FILES.items():
        rows = [{"en": en, "de": de} for en, de in PAIRS[split]]
        (tables / f"{name}.tsv").write_text("".join(f"{en}\t{de}\n" for en, de in PAIRS[split]), encoding="utf-8")
        table = pyarrow.table({"translation": rows})
        parquet.write_table(table, nested / f"{name}.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), columns / f"{name}.parquet")
        for part, some in enumerate((table.slice(0, 4), table.slice(4))):
            parquet.write_table(some, hub / "de-en" / f"{split}-0000{part}-of-00002.parquet")
    windows = write_texts(tmp_path / "windows", pack=lambda content: content.replace(b"\n", b"\r\n"))
    forms = [
        write_texts(tmp_path / "xz", pack=lzma.compress, suffix=".xz"),
        write_texts(tmp_path / "gz", pack=gzip.compress, suffix=".gz"),
        write_texts(tmp_path / "tok", infix=".tok"),
        write_texts(tmp_path / "cut", pack=lambda content: content[:-1]),  # the last line does not end
        *(windows, tables, nested, columns, hub),
    ]
    assert {str(path.name): open_parallel(config(path)).sha256 for path in forms} == {p.name: wanted for p in forms}


def test_files_may_have_other_names(config, tmp_path):
    wanted = open_parallel(config()).sha256
    news = {"train": "train", "validation": "newstest2013", "test": "newstest2014"}
    assert open_parallel(config(write_texts(tmp_path / "news", names=news, infix=".tok"))).sha256 == wanted
    own = {split: f"{split}10k.tok" for split in SPLITS}
    assert open_parallel(config(write_texts(tmp_path / "own", names=own), **own)).sha256 == wanted
    write_texts(tmp_path / "begun", names={split: f"ende.{name}" for split, name in FILES.items()})
    assert open_parallel(config(tmp_path / "begun" / "ende")).sha256 == wanted


def test_another_test_set_leaves_training_and_its_tokenizer_alone(config, folder):
    write_texts(folder, names={"train": "test_2017_flickr"})
    corpus, other = open_parallel(config()), open_parallel(config(test="test_2017_flickr"))
    assert other.source("test") == corpus.source("train") and other.sha256 != corpus.sha256
    assert other.tokenizer.sha256 == corpus.tokenizer.sha256
    same = [split for split in SPLITS if other.splits_sha256[split] == corpus.splits_sha256[split]]
    assert same == ["train", "validation"]


def test_entities_of_wmt_text_are_unescaped_and_counted_and_stay_elsewhere(config, folder):
    for language, lines in (
        ("en", ["a &quot;b&quot;", "R&D &amp;lt; &#91;", "one&#10;two"]),
        ("de", ["x", "y", "&apos;"]),
    ):
        (folder / f"val.{language}").write_text("\n".join(lines) + "\n")
    assert open_parallel(config()).source("validation")[0] == "a &quot;b&quot;"
    corpus = open_parallel(config(source="wmt14"))
    assert corpus.source("validation") == ['a "b"', "R&D &lt; [", "one two"]
    assert corpus.target("validation") == ["x", "y", "'"]
    assert corpus.facts["html_unescaped"] and corpus.facts["unescaped_lines"] == {"en": 3, "de": 1}


@pytest.fixture
def hub(monkeypatch):
    """The data set, as the datasets library gives it; what it was asked for."""
    import datasets

    asked = []

    def load_dataset(name, subset, revision, split):
        asked.append((name, subset, revision, split))
        return datasets.Dataset.from_list([{"translation": {"de": de, "en": en}} for en, de in PAIRS[split]])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(parallel, "OFFICIAL", {split: len(pairs) for split, pairs in PAIRS.items()})
    return asked


def test_the_pinned_data_set(config, hub, monkeypatch, tmp_path):
    corpus = open_parallel(config(None, "wmt14"))
    assert set(hub) == {("wmt/wmt14", "de-en", parallel.REVISION, split) for split in SPLITS}
    assert corpus.source("test") == [en for en, _ in PAIRS["test"]]
    assert corpus.facts["revision"] == parallel.REVISION
    monkeypatch.setattr(parallel, "OFFICIAL", {"train": 60, "validation": 10, "test": 7})
    line = error_line(config(None, "wmt14", cache_dir=str(tmp_path / "new")), tmp_path)
    assert "has 9 pairs of validation, not the official 10" in line
    import datasets

    def offline(*a, **k):
        raise ConnectionError("Couldn't reach the Hub\nat all")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    line = error_line(config(None, "wmt14", cache_dir=str(tmp_path / "new")), tmp_path)
    assert f"hf download wmt/wmt14 --repo-type dataset --revision {parallel.REVISION}" in line
    assert "(Couldn't reach the Hub)" in line and line.endswith("add data.path=wmt14")


def test_the_official_counts_are_those_published():
    assert parallel.OFFICIAL == {"train": 4_508_785, "validation": 3_000, "test": 3_003}


def damage(folder, what):
    """Makes one thing wrong with a folder of files."""
    train = folder / "train.de"
    if what == "short":
        train.write_text("".join(line + "\n" for line in train.read_text().splitlines()[:58]))
    elif what == "long":
        train.write_text(train.read_text() + "noch\neine\n")
    elif what == "utf8":
        lines = train.read_bytes().split(b"\n")
        lines[3] = b"gr\xfc\xdfe"
        train.write_bytes(b"\n".join(lines))
    elif what == "twice":
        train.write_bytes((folder / "train.en").read_bytes())
    elif what == "pointer":
        train.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif what == "packed pointer":
        train.rename(folder / "train.de.xz").write_text("version https://git-lfs.github.com/spec/v1\n")
    elif what == "no validation":
        (folder / "val.en").unlink()
        (folder / "val.de").unlink()
    elif what == "table":
        (folder / "train.en").unlink()
        train.unlink()
        (folder / "train.tsv").write_text("a\tb\na\tb\tc\n")
    elif what == "shard":
        (folder / "train.en").unlink()
        train.unlink()
        table = pyarrow.table({"en": ["a"], "de": ["b"]})
        parquet.write_table(table, folder / "train-00001-of-00002.parquet")
    elif what == "column":
        (folder / "train.en").unlink()
        train.unlink()
        parquet.write_table(pyarrow.table({"en": ["a"], "fr": ["b"]}), folder / "train.parquet")
    elif what == "no text":
        (folder / "train.en").unlink()
        train.unlink()
        parquet.write_table(pyarrow.table({"translation": [{"en": "a", "de": 3}]}), folder / "train.parquet")
    else:
        {"missing": train.unlink, "empty": lambda: train.write_bytes(b"")}[what]()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("short", ["train.en has 60 lines and", "train.de 58:", "get", "again"]),
        ("long", ["train.en has 60 lines and", "train.de 62:"]),
        ("utf8", ["line 4 of", "train.de is not UTF-8 (byte 0xfc)"]),
        (
            "twice",
            ["every one of 60 lines of the train split", "is the same in en and de: one language"],
        ),
        ("pointer", ["train.de is a Git LFS pointer, not the file itself"]),
        ("packed pointer", ["train.de.xz is a Git LFS pointer, not the file itself"]),
        ("no validation", ["has no validation split: no validation.en and validation.de", "type data.validation=NAME"]),
        ("missing", ["train.en is there and the same sentences in the language de are not"]),
        ("empty", ["train.de is empty"]),
        ("table", ["line 2 of", "train.tsv has 3 columns; give two"]),
        ("shard", ["has 1 of the 2 files of train (train-00001-of-00002.parquet); add the others"]),
        ("column", ["train.parquet has no column de (it has en, fr)"]),
        ("no text", ["train.parquet holds a int in en or de where text should be"]),
    ],
)
def test_what_is_no_parallel_text_is_one_line(what, says, config, folder, tmp_path):
    damage(folder, what)
    line = error_line(config(), tmp_path)
    assert all(part in line for part in says), line


def test_tables_and_texts_as_the_common_tools_write_them(config, folder, tmp_path, caplog):
    wanted = open_parallel(config()).sha256
    tables = tmp_path / "tables"
    tables.mkdir()
    for split, name in FILES.items():
        rows = "".join(f"{en}\t{de}\r\n\r\n" for en, de in PAIRS[split])
        (tables / f"{name}.tsv").write_bytes(f"\ufeffen\tde\r\n{rows}".encode())
    assert open_parallel(config(tables)).sha256 == wanted
    for split, name in FILES.items():
        for side, language in enumerate(("en", "de")):
            content = "\ufeff" + "\r\n".join(pair[side] for pair in PAIRS[split])  # the last line without an end
            (folder / f"{name}.{language}").unlink()
            (folder / f"{name}.{language}.bz2").write_bytes(bz2.compress(content.encode()))
    assert open_parallel(config()).sha256 == wanted
    assert "quotation marks" not in caplog.text
    quoted = "".join(f'"{en}"\t"{de}"\n' for en, de in PAIRS["test"])
    (tables / f"{FILES['test']}.tsv").write_text(quoted, encoding="utf-8")
    assert open_parallel(config(tables)).target("test")[0] == f'"{PAIRS["test"][0][1]}"'
    assert "all columns stand in quotation marks, which are read as text" in caplog.text


def test_a_file_changed_while_it_is_read_is_not_kept(config, folder, tmp_path, monkeypatch):
    hashed = parallel.file_sha256

    def changed(path):
        digest = hashed(path)
        if path.name == "val.de":
            os.utime(path, (1, 1))
        return digest

    monkeypatch.setattr(parallel, "file_sha256", changed)
    assert "val.de was changed while it was read" in error_line(config(), tmp_path)


def test_a_folder_that_is_not_there(config, tmp_path):
    line = error_line(config(tmp_path / "mlti30k"), tmp_path)
    assert "does not exist (looked at" in line and "; the nearest name there is multi30k; give a folder" in line
    line = error_line(config(tmp_path / "multi30k_prefix"), tmp_path)
    assert "for a folder, and for multi30k_prefix.train.en and multi30k_prefix.train.de)" in line
    assert "nearest name" in line
    line = error_line(config(test="test_2015"), tmp_path)
    assert "has no test split: no test_2015.en and test_2015.de" in line and "it holds test_2016_flickr.de, " in line


def test_one_bpe_of_both_languages_whose_tokens_stand_for_the_very_bytes(config):
    corpus = open_parallel(config())
    tokenizer = corpus.tokenizer
    assert tokenizer.vocabulary_size == vocabulary_size(config()) == 290
    assert (tokenizer.eos, tokenizer.pieces[0], tokenizer.token_bytes[0]) == (0, b"\n", 1)
    assert {bytes([byte]) for byte in range(256)} < set(tokenizer.pieces)
    joined = {piece for piece in tokenizer.pieces if len(piece) > 2}
    assert any(piece in b" the phase locks oscillator" for piece in joined)
    assert any(piece in " Oszillators Phase läuft".encode() for piece in joined)
    for split, pairs in PAIRS.items():
        tokens = corpus.pairs(split)
        assert len(tokens) == len(pairs)
        for k, pair in enumerate(pairs):
            for side, sentence in enumerate(pair):
                row = tokens.padded(np.array([k]), side, 80, -1)[0]
                assert tokenizer.sentence(row) == sentence
                assert (row == tokenizer.eos).sum() == 1 and row[tokens.lengths[k, side] - 1] == tokenizer.eos
        n_bytes = sum(len(de.encode()) + 1 for _, de in pairs)
        assert tokens.target_bytes(np.arange(len(pairs))) == corpus.bytes_per_split()[split] == n_bytes
        assert tokens.lengths[:, 1].sum() == corpus.tokens_per_split()[split]


def test_a_sentence_with_the_characters_of_the_special_token_is_text(config):
    tokenizer = open_parallel(config()).tokenizer
    (tokens,) = tokenizer.encode_sentences(["the <eos> locks"])
    assert tokenizer.eos not in tokens and tokenizer.sentence([*tokens, 0, 7]) == "the <eos> locks"
    assert tokenizer.sentence([tokenizer.encode_sentences(["ä"])[0][0]]) in ("\ufffd", "ä")


def test_the_file_is_one_of_the_library_and_reads_back(config):
    from tokenizers import Tokenizer as Library

    corpus = open_parallel(config())
    again = joint_tokenizer_of(corpus.tokenizer.content)
    assert again == corpus.tokenizer and again.encode_sentences(["läuft"]) == corpus.tokenizer.encode_sentences(
        ["läuft"]
    )
    assert Library.from_str(corpus.tokenizer.content.decode()).token_to_id("<eos>") == 0
    assert open_parallel(config(), again).tokens_sha256 == corpus.tokens_sha256
    other = open_parallel(config(vocabulary=280))
    assert other.tokens_sha256 != corpus.tokens_sha256 and other.sha256 == corpus.sha256
    without = json.loads(corpus.tokenizer.content) | {"added_tokens": []}
    without["model"]["vocab"] = {("end" if k == "<eos>" else k): v for k, v in without["model"]["vocab"].items()}
    with pytest.raises(UserError, match="has no token <eos>"):
        joint_tokenizer_of(json.dumps(without).encode())
    with pytest.raises(UserError, match=r"no more than [\d,]+ tokens for data.vocabulary=5000"):
        open_parallel(config(vocabulary=5000))


CODE = "import sys; from data.parallel import open_parallel; from configs.schema import ParallelConfig; "
CODE += "p, c = sys.argv[1:]; corpus = open_parallel(ParallelConfig('m', 'multi30k', p, vocabulary=290, cache_dir=c))"
CODE += "; print(corpus.tokenizer.sha256, corpus.tokens_sha256)"


def test_another_process_and_thread_count_give_the_same_tokenizer_and_tokens(config, folder, tmp_path):
    corpus = open_parallel(config())
    house = Path(__file__).parents[2]
    environment = os.environ | {"RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "3", "PYTHONPATH": str(house)}
    command = [sys.executable, "-c", CODE, str(folder), str(tmp_path / "other")]
    done = subprocess.run(command, env=environment, cwd=house, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [corpus.tokenizer.sha256, corpus.tokens_sha256]


@pytest.fixture
def uneven(folder):
    """Ten pairs more: two with an empty side, three long ones, five of unequal length; in validation one of each."""
    long, short = "the phase of an oscillator drifts " * 9, "locks"
    odd = [("", "ja"), ("no", " "), *[(long, "weg " * 40)] * 3, *[(short, "die Phase eines Oszillators " * 2)] * 5]
    write_texts(folder, {"train": PAIRS["train"] + odd, "validation": [odd[0], odd[2], odd[5]], "test": PAIRS["test"]})
    return odd


def test_pairs_are_left_out_of_training_alone_and_counted_by_reason(config, uneven, caplog):
    corpus = open_parallel(config(context=50, max_ratio=5.0))
    lengths = corpus.pairs("train").lengths
    encoded = corpus.tokenizer.encode_sentences([side for pair in PAIRS["train"] for side in pair])
    source, target = (np.array(list(map(len, encoded[side::2]))) for side in (0, 1))
    kept = np.maximum(source, target) <= 5 * np.minimum(source, target)
    assert lengths.tolist() == (np.stack([source, target], 1)[kept] + 1).tolist()
    assert corpus.facts["left_out"] == {"empty": 2, "too_long": 3, "ratio": 5 + int((~kept).sum())}
    assert corpus.pairs_per_split() == {"train": int(kept.sum()), "validation": 3, "test": 7}
    assert len(corpus.source("train")) == 70, "the text is all that was read"
    assert corpus.facts["truncated"] == {"train": 0, "validation": 1, "test": 0}
    assert corpus.facts["empty"] == {"train": 2, "validation": 1, "test": 0}
    assert corpus.pairs("validation").lengths.max() == 50
    told = " | ".join(corpus.told())
    assert (
        f"{70 - kept.sum()} of 70 pairs of training left out: 2 with an empty side, 3 longer than data.context" in told
    )
    assert (
        "1 of 3 pairs of validation truncated to data.context | 1 of 3 pairs of validation with an empty side" in told
    )
    assert all(line in caplog.text for line in corpus.told())


def test_long_sentences_may_be_cut_instead(config, uneven):
    corpus = open_parallel(config(context=20, too_long="truncate"))
    assert corpus.facts["left_out"] == {"empty": 2, "too_long": 0, "ratio": 0}
    pairs = corpus.pairs("train")
    assert len(pairs) == 68 and pairs.lengths.max() == 20
    assert 3 <= corpus.facts["truncated"]["train"] < 68
    (row,) = pairs.padded(np.array([60]), 0, 20, -1)
    assert uneven[2][0].startswith(corpus.tokenizer.sentence(row)) and row[-1] == 0
    exact = open_parallel(config(context=int(open_parallel(config()).pairs("test").lengths.max())))
    assert exact.facts["truncated"]["test"] == 0, "a sentence of data.context tokens is whole"


def test_a_sentence_of_just_too_many_tokens_is_too_long(config):
    lengths = open_parallel(config()).pairs("train").lengths.max(1)
    longest = int(lengths.max())
    assert open_parallel(config(context=longest)).facts["left_out"]["too_long"] == 0
    shorter = open_parallel(config(context=longest - 1)).facts
    assert shorter["left_out"]["too_long"] == (lengths == longest).sum() and shorter["truncated"]["train"] == 0


def test_nothing_left_of_training_is_one_line(config):
    with pytest.raises(UserError, match=r"none of 60 pairs of training is left \(60 longer than data.context\)"):
        open_parallel(config(context=2))


def test_multi30k_has_no_official_source():
    config = compose("train", ["task=translation", "data=multi30k"]).data
    with pytest.raises(UserError, match=r"https://github.com/multi30k/dataset and type data\.path=FOLDER"):
        open_parallel(config)


def test_an_archive_of_pairs_is_named_with_what_unpacks_it(config, tmp_path):
    path = tmp_path / "pairs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.en", "a\n")
    assert "unzip" in error_line(config(path), tmp_path)
