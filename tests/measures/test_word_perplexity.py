"""Words of a text and perplexity per word, against plain Python on the text itself."""

import lzma
import math
import shutil
from collections import Counter

import numpy as np
import pytest

from configs.schema import DataConfig
from data.sources import open_corpus
from measures import word_perplexity as module
from measures.word_perplexity import by_word, word_perplexity, words_in


def as_array(text):
    return np.frombuffer(text, np.uint8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b" \n = A b = \n \n", 3 + 4),
        (b"", 0),
        (b"a", 1),
        (b"two words", 2),
        (b"\ttwo\x0b\x0cwords \r\n", 3),
        (b"\n\n", 2),
    ],
)
def test_words_are_what_split_gives_and_the_ends_of_lines(text, words):
    assert words_in(as_array(text)) == words == len(text.split()) + text.count(b"\n")


def test_a_word_across_chunks_is_one(monkeypatch):
    text = b" the phase  of\n an oscillator \xc3\xa9 drifts \n" * 5
    for size in range(1, 12):
        monkeypatch.setattr(module, "CHUNK", size)
        assert words_in(as_array(text)) == len(text.split()) + text.count(b"\n")


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    assert word_perplexity(math.log(50), n_targets=7, n_words=7) == pytest.approx(50, rel=1e-14)
    assert word_perplexity(math.log(256), n_targets=12, n_words=4) == pytest.approx(256**3, rel=1e-13)


@pytest.fixture
def real(wikitext2, tmp_path):
    """Word-level text that is trained on both real files and tested on one, in tokens of each kind."""
    texts = {name: lzma.decompress((wikitext2 / f"wiki.{name}.tokens.xz").read_bytes()) for name in ("valid", "test")}
    (tmp_path / "wiki.train.tokens").write_bytes(texts["valid"] + texts["test"])
    for name in texts:
        shutil.copy(wikitext2 / f"wiki.{name}.tokens.xz", tmp_path)
    names = {"tokenizer": "bytes", "vocabulary": 1000, "raw": False, "cache_dir": str(tmp_path / "cache")}
    return texts, lambda **more: open_corpus(DataConfig("w", "wikitext103", str(tmp_path), **names | more))


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "bytes"])
def test_unigram_perplexity_of_real_text_is_that_of_plain_python(tokenizer, real):
    """A unigram model is fitted to the training tokens, and scored on the test split by the two paths."""
    texts, corpus_of = real
    corpus = corpus_of(tokenizer=tokenizer)
    train, test = (corpus.split(name).tokens.astype(np.int64) for name in ("train", "test"))
    counts = np.bincount(train, minlength=corpus.vocabulary_size)
    log_p = np.log(counts, where=counts > 0, out=np.full(len(counts), -np.inf)) - np.log(len(train))
    n_words = words_in(corpus.text("test"))
    ours = word_perplexity(-log_p[test].mean(), len(test), n_words)

    lines = texts["test"].decode().splitlines()
    official = [word for line in lines for word in [*line.split(), "<eos>"]]
    assert n_words == len(official) == 245_569, "the published count"
    if tokenizer == "words":
        text = (texts["valid"] + texts["test"]).decode()
        fitted = Counter(word for line in text.splitlines() for word in [*line.split(), "<eos>"])
        scored = official
    else:  # the symbols are those of the tokenizer, by the bytes that they stand for
        fitted = Counter(corpus.tokenizer.decode(train.tolist()))
        scored = list(corpus.tokenizer.decode(test.tolist()))
        assert b"".join(scored) == texts["test"]
    total = sum(fitted.values())
    nats = math.fsum(-math.log(fitted[symbol] / total) for symbol in scored)
    assert ours == pytest.approx(math.exp(nats / len(official)), rel=1e-9)
    if tokenizer == "words":
        assert 500 < ours < 1000


def trigrams(fitted, scored, add=1e-3):
    """-log p of each of `scored` symbols from the two before it, in a trigram model with additive smoothing, one symbol
    after another; the text follows two ends of lines.
    """
    start = fitted[-1], fitted[-1]
    vocabulary = len({*fitted})
    pairs, triples, before = Counter(), Counter(), start
    for symbol in fitted:
        pairs[before] += 1
        triples[*before, symbol] += 1
        before = before[1], symbol
    nats, before = [], start
    for symbol in scored:
        nats.append(-math.log((triples[*before, symbol] + add) / (pairs[before] + add * vocabulary)))
        before = before[1], symbol
    return nats


def trigrams_of_arrays(fitted, scored, size, add=1e-3):
    """The same of tokens (n,) with NumPy."""

    def contexts(tokens):
        followed = np.concatenate([[fitted[-1], fitted[-1]], tokens])
        pair = followed[:-2] * size + followed[1:-1]
        return pair, pair * size + followed[2:]

    (pairs, triples), (pair, triple) = contexts(fitted), contexts(scored)

    def counted(known, asked):
        values, counts = np.unique(known, return_counts=True)
        place = np.minimum(np.searchsorted(values, asked), len(values) - 1)
        return np.where(values[place] == asked, counts[place], 0)

    p = (counted(triples, triple) + add) / (counted(pairs, pair) + add * len(np.unique(fitted)))
    return -np.log(p)


def check_trigrams(texts, corpus, tokenizer):
    """The perplexity of the test split by our arithmetic and by plain Python on the text itself."""
    train, test = (corpus.split(name).tokens.astype(np.int64) for name in ("train", "test"))
    nats = trigrams_of_arrays(train, test, corpus.vocabulary_size)
    ours = by_word(corpus.text("test"), tokenizer == "words", nats.mean(), len(test))
    official = [word for line in texts["test"].decode().splitlines() for word in [*line.split(), "<eos>"]]
    if tokenizer == "words":
        text = texts["train"].decode()
        fitted, scored = [word for line in text.splitlines() for word in [*line.split(), "<eos>"]], official
    else:
        fitted, scored = (list(corpus.tokenizer.decode(tokens.tolist())) for tokens in (train, test))
        assert b"".join(scored) == texts["test"]
    key = "word_perplexity" if tokenizer == "words" else "word_normalised_perplexity"
    theirs = math.exp(math.fsum(trigrams(fitted, scored)) / len(official))
    assert ours == {"words": len(official), key: pytest.approx(theirs, rel=1e-9)}
    return ours[key]


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "bytes"])
def test_trigram_perplexity_of_made_text_is_that_of_plain_python(tokenizer, tmp_path):
    lines = [f" the phase of <unk> {k * k % 11} , é locks and drifts {k % 3} . \n" for k in range(400)]
    texts = {"train": lines[:300], "valid": lines[300:340], "test": [*lines[340:], " \n"]}
    texts = {name: "".join(some).encode() for name, some in texts.items()}
    for name, text in texts.items():
        (tmp_path / f"wiki.{name}.tokens").write_bytes(text)
    names = {"tokenizer": tokenizer, "vocabulary": 270, "raw": False, "cache_dir": str(tmp_path / "cache")}
    corpus = open_corpus(DataConfig("w", "wikitext103", str(tmp_path), **names))
    assert 1 < check_trigrams(texts, corpus, tokenizer) < 10


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_trigram_perplexity_of_real_text_is_that_of_plain_python(tokenizer, real):
    texts, corpus_of = real
    texts = {"train": texts["valid"] + texts["test"], "test": texts["test"]}
    found = check_trigrams(texts, corpus_of(tokenizer=tokenizer), tokenizer)
    print(f"trigrams of {tokenizer}: {found:.6f}")


def test_a_given_count_of_words_and_a_loss_beyond_numbers():
    text = as_array(b" a b \n")
    assert by_word(text, False, 0.5, 6) == {"words": 3, "word_normalised_perplexity": pytest.approx(math.e)}
    assert by_word(text, True, 0.5, 6, n_words=6) == {"words": 6, "word_perplexity": pytest.approx(math.exp(0.5))}
    assert by_word(text, False, 1e6, 6) == {"words": 3}
