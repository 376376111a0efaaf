"""`data=text27`: the letters of any local file, whatever it is packed in, cut where words begin."""

import gzip
import hashlib

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from data.cuts import at_words
from data.letters import letters
from data.sources import open_corpus, vocabulary_size

TEXT = "Café No. 7 — the phase of an oscillator drifts,\nand locks.\n" * 400
LETTERS = b"".join(letters([TEXT.encode()]))


@pytest.fixture
def opened(tmp_path):
    def opened(content, name="text.txt", **options):
        path = tmp_path / name
        path.write_bytes(content)
        options = {"tokenizer": "characters", "cache_dir": str(tmp_path / "cache"), **options}
        return open_corpus(DataConfig(name="mine", source="text27", path=str(path), **options))

    return opened


def texts(corpus):
    return [bytes(corpus.text(name)) for name in ("train", "validation", "test")]


def test_the_splits_are_the_letters_in_order_and_begin_with_words(opened):
    corpus = opened(TEXT.encode(), split=[0.813, 0.1, 0.087])
    train, validation, test = texts(corpus)
    assert train + validation + test == LETTERS
    assert corpus.sha256 == hashlib.sha256(LETTERS).hexdigest()
    words = set(LETTERS.split())
    for split in (train, validation):
        assert split.endswith(b" ") and set(split.split()) <= words
    assert not validation.startswith(b" ") and not test.startswith(b" ")
    for (start, _), share in zip(list(corpus.splits.values())[1:], (0.813, 0.913), strict=True):
        assert 0 < start - round(len(LETTERS) * share) <= len("oscillator ")


def test_the_letters_do_not_depend_on_the_split_or_on_how_the_file_is_packed(opened):
    one, other = opened(TEXT.encode()), opened(TEXT.encode(), split=[0.5, 0.2, 0.3])
    packed = opened(gzip.compress(TEXT.encode()), "text.gz")
    assert one.sha256 == other.sha256 == packed.sha256
    assert b"".join(texts(one)) == b"".join(texts(other)) == b"".join(texts(packed))
    assert one.splits == packed.splits != other.splits


def test_it_comes_from_the_cache_the_second_time_and_is_made_again_by_other_rules(opened, monkeypatch):
    first = opened(TEXT.encode())
    monkeypatch.setattr("data.text27.letters", lambda chunks: pytest.fail("filtered again"))
    assert opened(TEXT.encode()) == first
    monkeypatch.setattr("data.text27.RECIPE", {"rules": 2})
    monkeypatch.setattr("data.text27.letters", lambda chunks: iter([b"other letters " * 30]))
    assert opened(TEXT.encode()).sha256 != first.sha256


def test_its_vocabulary_is_known_before_the_file_is_and_whole_where_a_text_lacks_letters(opened):
    corpus = opened(b"abc xyz " * 20)
    assert (corpus.vocabulary_size, corpus.split("train").vocabulary_size) == (27, 27)
    assert corpus.split("validation").tokens.max() <= 26
    assert vocabulary_size(DataConfig(source="text27", path="missing", tokenizer="characters")) == 27
    assert vocabulary_size(DataConfig(source="text8", tokenizer="characters")) == 27
    assert vocabulary_size(DataConfig(source="text27", path="missing")) == 256
    assert opened(b"abc xyz " * 20, tokenizer="bytes").vocabulary_size == 256


def test_a_file_without_enough_letters_is_one_line(opened):
    with pytest.raises(UserError, match=r"the validation split of .* is empty \(1 byte in all"):
        opened(b"\xff" * 1000)
    with pytest.raises(UserError, match=r"data=text27 needs a file; type data.path=FILE"):
        open_corpus(DataConfig(source="text27", tokenizer="characters"))


def test_cuts_go_to_the_next_word_of_the_split_or_stay():
    def cut(text, a, b):
        content = np.frombuffer(text, dtype=np.uint8)
        splits = at_words(content, {"train": (0, a), "validation": (a, b), "test": (b, len(content))})
        return [text[start:stop] for start, stop in splits.values()]

    assert cut(b"one two three four", 5, 9) == [b"one two ", b"three ", b"four"]
    assert cut(b"one two three four", 4, 8) == [b"one ", b"two ", b"three four"]
    assert cut(b"abcdefgh", 3, 6) == [b"abc", b"def", b"gh"]
    assert cut(b"abc def ", 2, 6) == [b"abc ", b"de", b"f "]  # the last word has none after it
    assert cut(b"a b", 1, 2) == [b"a", b" ", b"b"]
