"""`words` and `bpe`: what the training split makes, the same file each time, every byte of text behind one token."""

import json
import lzma
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from configs.compose import compose, config_hash
from configs.errors import UserError
from configs.schema import DataConfig
from data.cuts import SPLITS
from data.sources import open_corpus, vocabulary_size
from data.tokenizers import ByteLevelTokenizer, open_tokenizer

LINES = {  # of official files, spaced as these are
    "train": " \n = Phases = \n \n The phase of <unk> drifts , and the phase of the other , é , locks . \n" * 30,
    "valid": " \n = Drifts = \n \n the phase locks . \n".replace("Drifts", "Phases"),
    "test": " \n The <unk> drifts . \n \n",
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "wikitext"
    folder.mkdir()
    for split, text in LINES.items():
        (folder / f"wiki.{split}.tokens").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def config(folder, tmp_path):
    def config(tokenizer, source="wikitext103", path=folder, **more):
        cache = {"cache_dir": str(tmp_path / "cache")}
        return DataConfig(source, source, str(path), tokenizer=tokenizer, raw=False, **cache, **more)

    return config


def pieces_of(corpus):
    assert isinstance(corpus.tokenizer, ByteLevelTokenizer)
    return corpus.tokenizer.pieces


def test_words_are_those_of_the_training_split_the_commonest_first(config):
    corpus = open_corpus(config("words"))
    counts = Counter(w for line in LINES["train"].splitlines() for w in [*line.split(), "\n"])
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
    assert pieces_of(corpus) == tuple(b" " + word.encode() for word, _ in ordered)
    assert corpus.vocabulary_size == vocabulary_size(config("words")) == len(counts)
    assert (corpus.tokenizer.name, pieces_of(corpus)[corpus.tokenizer.follows]) == ("words", b" \n")
    for name, file in zip(SPLITS, LINES, strict=True):
        words = [w for line in LINES[file].splitlines() for w in [*line.split(), "\n"]]
        split = corpus.split(name)
        pieces = list(corpus.tokenizer.decode(split.tokens.tolist()))
        assert [piece.decode() for piece in pieces] == [" " + word for word in words]
        assert len(words) == corpus.tokens_per_split()[name] == corpus.source["words"][name]
        assert split.n_bytes() == corpus.bytes_per_split()[name] == len(LINES[file].encode())
        assert split.bytes_of(split.tokens).tolist() == list(map(len, pieces))


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_the_file_is_one_of_the_library_and_cuts_likewise(tokenizer, config):
    from tokenizers import Tokenizer as Library

    corpus = open_corpus(config(tokenizer, **({"vocabulary": 280} if tokenizer == "bpe" else {})))
    library = Library.from_str(corpus.tokenizer.content.decode())
    for name, file in zip(SPLITS, LINES, strict=True):
        ids = library.encode(LINES[file], add_special_tokens=False).ids
        assert ids == corpus.split(name).tokens.tolist()
        assert library.decode(ids) == LINES[file]


def test_bpe_has_the_size_that_is_asked_for_and_stands_for_the_very_bytes(config):
    corpus = open_corpus(config("bpe", vocabulary=290))
    assert corpus.vocabulary_size == vocabulary_size(config("bpe", vocabulary=290)) == 290
    assert corpus.tokenizer.sha256 != open_corpus(config("bpe", vocabulary=295)).tokenizer.sha256
    assert {bytes([byte]) for byte in range(256)} < set(pieces_of(corpus))
    for name, file in zip(SPLITS, LINES, strict=True):
        split = corpus.split(name)
        assert b"".join(corpus.tokenizer.decode(split.tokens.tolist())) == LINES[file].encode()
        assert split.n_bytes() == corpus.bytes_per_split()[name]
    assert len(corpus.split("train")) < corpus.bytes_per_split()["train"] / 2
    unseen = bytes(range(256))
    assert b"".join(corpus.tokenizer.decode(corpus.tokenizer.encode(unseen).tolist())) == unseen
    with pytest.raises(UserError, match=r"no more than \d+ tokens for data.vocabulary=5000; type data.vocabulary=\d+"):
        open_corpus(config("bpe", vocabulary=5000))


def test_bpe_is_of_any_text(config, tmp_path):
    (tmp_path / "own.txt").write_bytes(b"no newline and \xff bytes that are not UTF-8, " * 200)
    corpus = open_corpus(config("bpe", "text", tmp_path / "own.txt", vocabulary=270))
    assert corpus.split("test").n_bytes() == corpus.bytes_per_split()["test"]


TRAIN = "import sys; from data.sources import open_corpus; from configs.schema import DataConfig; "
TRAIN += "n, p, c, t, v = sys.argv[1:]; "
TRAIN += "config = DataConfig(n, n, p, cache_dir=c, tokenizer=t, vocabulary=int(v), raw=False); "
TRAIN += "print(open_corpus(config).tokenizer.sha256)"


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_training_twice_gives_the_same_file_whatever_the_process_and_its_threads(tokenizer, config, folder, tmp_path):
    ours = open_corpus(config(tokenizer, vocabulary=290)).tokenizer.sha256
    for threads in ("1", "3"):
        cache = str(tmp_path / f"cache{threads}")
        command = [sys.executable, "-c", TRAIN, "wikitext103", str(folder), cache, tokenizer, "290"]
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        house = Path(__file__).parents[2]
        environment["PYTHONPATH"] = str(house)
        done = subprocess.run(command, env=environment, cwd=house, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ours


def test_it_is_trained_once_and_again_where_the_cache_is_damaged(config, tmp_path, monkeypatch, caplog):
    from data import trained_tokenizers

    calls = []
    train = trained_tokenizers._bpe
    monkeypatch.setattr(trained_tokenizers, "_bpe", lambda *a: (calls.append(a), train(*a))[1])
    first = open_corpus(config("bpe", vocabulary=280))
    assert open_corpus(config("bpe", vocabulary=280)) == first and len(calls) == 1
    (kept,) = (tmp_path / "cache").glob("tokenizer-*.json")
    content = json.loads(kept.read_text())
    for damage in (b"", b"{}", json.dumps(content | {"content": content["content"] + " "}).encode()):
        kept.write_bytes(damage)
        assert open_corpus(config("bpe", vocabulary=280)) == first
    assert len(calls) == 4 and "damaged" in caplog.text
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_what_is_not_spaced_as_wikitext_is_refused_by_words(config, tmp_path):
    for text in (b"the phase\n" * 99, b" two  spaces \n" * 99, b" a tab\there \n" * 99, b" no space before it\n" * 99):
        (tmp_path / "own.txt").write_bytes(text)
        with pytest.raises(UserError, match="needs text that is spaced as WikiText's is"):
            open_corpus(config("words", "text", tmp_path / "own.txt"))


def test_a_word_that_the_training_text_lacks_is_named(config, folder):
    (folder / "wiki.test.tokens").write_text(" the Kuramoto phase \n")
    with pytest.raises(UserError, match="'Kuramoto' is none of the 15 words of the training text"):
        open_corpus(config("words"))


def test_a_prompt_of_words_begins_with_a_space(config, tmp_path):
    tokenizer = open_corpus(config("words")).tokenizer
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.content)
    opened = open_tokenizer(str(tmp_path / "tokenizer.json"))
    assert opened.sha256 == tokenizer.sha256
    assert list(opened.decode(opened.encode(b" the phase \n").tolist())) == [b" the", b" phase", b" \n"]
    assert len(opened.encode(b"")) == 0
    with pytest.raises(UserError, match="begins with 'the phase': begin with a space"):
        opened.encode(b"the phase")


def test_words_need_the_word_level_text_and_vocabulary_needs_bpe():
    words = ["data=wikitext103", "data.tokenizer=words"]
    with pytest.raises(UserError, match=r"type data\.raw=false too"):
        compose("train", words)
    assert not compose("train", [*words, "data.raw=false"]).data.counts_tables
    with pytest.raises(UserError, match=r"it needs data\.tokenizer=bpe"):
        compose("train", ["data.vocabulary=300"])
    bpe = ["data=enwik8", "data.tokenizer=bpe"]
    hashes = {config_hash(compose("train", [*bpe, *more])) for more in ([], ["data.vocabulary=300"])}
    assert len(hashes) == 2


def test_real_text_as_words(wikitext2, config, tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    texts = {n: lzma.decompress((wikitext2 / f"wiki.{n}.tokens.xz").read_bytes()) for n in ("valid", "test")}
    (folder / "wiki.train.tokens").write_bytes(texts["valid"] + texts["test"])
    for name in texts:
        shutil.copy(wikitext2 / f"wiki.{name}.tokens.xz", folder)
    corpus = open_corpus(config("words", path=folder))
    both = (texts["valid"] + texts["test"]).decode().replace("\n", " <eos> ").split()
    assert corpus.vocabulary_size == len(set(both))
    assert corpus.tokens_per_split() == {"train": 217_646 + 245_569, "validation": 217_646, "test": 245_569}
    counts = np.bincount(corpus.split("train").tokens)
    assert (np.diff(counts) <= 0).all() and counts[0] == Counter(both).most_common(1)[0][1]
    assert corpus.split("test").n_bytes() == len(texts["test"])
