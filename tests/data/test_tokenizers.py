"""Tokenizers: every byte is behind exactly one token, whatever the text, and what would change the text is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from configs.errors import UserError
from configs.schema import DataConfig
from data.sources import open_corpus, vocabulary_size
from data.split import Split
from data.tokenizer_file import LLAMA_3, QWEN_2
from data.tokenizers import CHUNK, ByteLevelTokenizer, Tokenizer, chunks, open_tokenizer

TEXTS = [b"the phase of an oscillator drifts\n", "über naïve 語 🜁".encode(), bytes(range(256)), b"\xff\xfe", b"\n" * 9]


def changed(path, tmp_path, **parts):
    """A copy of a tokenizer.json with other parts."""
    other = tmp_path / "changed.json"
    other.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return str(other)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_stand_for_the_very_bytes(text, pair_tokenizer):
    for name in ("bytes", str(pair_tokenizer)):
        tokenizer = open_tokenizer(name)
        tokens = tokenizer.encode(text)
        assert b"".join(tokenizer.decode(tokens.tolist())) == text
        assert tokens.dtype == tokenizer.dtype
        split = tokenizer.split(tokens)
        assert split.n_bytes() == len(text)
        assert [len(piece) for piece in tokenizer.decode(tokens.tolist())] == split.bytes_of(tokens).tolist()


def test_pairs_are_fewer_tokens_than_bytes_and_need_a_wider_type(pair_tokenizer):
    tokenizer = open_tokenizer(str(pair_tokenizer))
    assert (tokenizer.vocabulary_size, tokenizer.dtype) == (32_768, np.uint16)
    assert vocabulary_size(DataConfig(source="text", tokenizer=str(pair_tokenizer))) == 32_768
    assert vocabulary_size(DataConfig(source="text")) == 256
    assert len(tokenizer.encode(b"abcdef")) == 3
    assert b"".join(tokenizer.decode([tokenizer.follows])) == b"\n"
    assert (Tokenizer().follows, Tokenizer().dtype) == (10, np.uint8)


def test_a_character_cut_in_two_is_its_bytes(pair_tokenizer):
    tokenizer = open_tokenizer(str(pair_tokenizer))
    text = "aé".encode()[:2]
    assert b"".join(tokenizer.decode(tokenizer.encode(text).tolist())) == text


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CATASTROPHIC = {"Regex": "(x+x+)+y"}  # 2^n steps on a line of n x


@pytest.mark.parametrize(
    "parts",
    [{"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}}, {"normalizer": {"type": "NFC"}}],
    ids=["prefix", "NFC"],
)
def test_a_tokenizer_that_changes_the_text_is_refused(parts, pair_tokenizer, tmp_path):
    tokenizer = open_tokenizer(changed(pair_tokenizer, tmp_path, **parts))
    with pytest.raises(UserError, match="changes the text"):
        tokenizer.encode("aab A e\N{COMBINING ACUTE ACCENT}\n".encode())


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"pre_tokenizer": SPLIT | {"pattern": CATASTROPHIC}}, "its pre-tokenizer has to be ByteLevel"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT | {"pattern": CATASTROPHIC}, BYTE_LEVEL]}},
            "its pre-tokenizer has to be ByteLevel",
        ),
        ({"pre_tokenizer": {"pattern": CATASTROPHIC, "behavior": "Isolated", "invert": False}}, "its pre-tokenizer"),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "never"}}, "its pre-tokenizer"),
        ({"normalizer": {"type": "Replace", "pattern": CATASTROPHIC, "content": ""}}, "it has to be null, or NFC"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}}, "it has to be null, or NFC"),
        ({"normalizer": {"type": "Lowercase"}}, "it has to be null, or NFC"),
        ({"decoder": {"type": "Replace", "pattern": CATASTROPHIC, "content": ""}}, "its decoder has to be ByteLevel"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}}, "its model has to be BPE"),
        ({"model": {"vocab": [["a", 0.0]], "unk_id": 0}}, "its model has to be BPE"),  # as files without a type have it
        ({"model": {"type": "BPE", "dropout": 0.5, "vocab": {"a": 0}, "merges": []}}, "BPE without dropout"),
    ],
    ids=range(11),
)
def test_parts_that_no_byte_level_tokenizer_needs_are_refused(parts, says, pair_tokenizer, tmp_path):
    with pytest.raises(UserError, match=says) as caught:
        open_tokenizer(changed(pair_tokenizer, tmp_path, **parts))
    assert "\n" not in str(caught.value) and "type data.tokenizer=bpe" in str(caught.value)


@pytest.mark.parametrize(
    "splits",
    [
        [{"type": "Digits", "individual_digits": True}],
        [{"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": False}],
        [SPLIT | {"pattern": {"String": "\n"}}],
    ],
    ids=["digits", "punctuation and digits", "a fixed text"],
)
def test_parts_that_hold_no_regular_expression_are_taken(splits, pair_tokenizer, tmp_path):
    parts = {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, BYTE_LEVEL]},
        "normalizer": {"type": "Sequence", "normalizers": []},
    }
    tokenizer = open_tokenizer(changed(pair_tokenizer, tmp_path, **parts))
    text = "We're at 12345, é! \n\n  x".encode()
    assert b"".join(tokenizer.decode(tokenizer.encode(text))) == text


def test_a_signal_is_no_error_of_the_library(pair_tokenizer, monkeypatch):
    tokenizer = open_tokenizer(str(pair_tokenizer))

    class Stopped(BaseException):
        """As `training.signals.Interrupted`."""

    class Library:
        def encode_batch(self, *_, **__):
            raise Stopped

    assert isinstance(tokenizer, ByteLevelTokenizer)
    with pytest.raises(Stopped):
        replace(tokenizer, library=Library()).encode(b"x")


@pytest.mark.parametrize("pattern", [LLAMA_3, QWEN_2], ids=["Llama 3", "Qwen2"])
def test_the_parts_of_known_tokenizers_are_taken(pattern, pair_tokenizer, tmp_path):
    split = SPLIT | {"pattern": {"Regex": pattern}}
    # What comes after the tokens, a catastrophic pattern in a post-processor say, is never given to the library.
    parts = {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]},
        "post_processor": {"type": "Unheard-of", "pattern": CATASTROPHIC},
        "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},
        "padding": {"unheard": "of"},
    }
    tokenizer = open_tokenizer(changed(pair_tokenizer, tmp_path, **parts))
    text = "We're at 12345, é! \n\n  x".encode()
    assert b"".join(tokenizer.decode(tokenizer.encode(text))) == text
    digits = {LLAMA_3: [b"12", b"3", b"45"], QWEN_2: [b"1", b"2", b"3", b"4", b"5"]}[pattern]
    assert list(tokenizer.decode(tokenizer.encode(b"12345"))) == digits


def test_what_is_no_byte_level_tokenizer_is_refused(pair_tokenizer, tmp_path):
    with pytest.raises(UserError, match=r"data.tokenizer=\S+ does not exist"):
        open_tokenizer(str(tmp_path / "none.json"))
    for content in ("{}", "[]", "{", "[" * 100_000, '{"model": 3}', "\ud800"):
        (tmp_path / "other.json").write_text(content, errors="surrogatepass")
        with pytest.raises(UserError, match=r"is no tokenizer\.json"):
            open_tokenizer(str(tmp_path / "other.json"))
    words = Library(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "words.json"))
    with pytest.raises(UserError, match="does not work on bytes"):
        open_tokenizer(str(tmp_path / "words.json"))


def test_a_byte_without_a_token_of_its_own_is_named(pair_tokenizer, tmp_path):
    content = json.loads(pair_tokenizer.read_text())
    alphabet = [chr(33 + k) for k in range(94)]
    vocabulary = {name: k for k, name in enumerate([*alphabet, "Ċ"])}
    tokenizer = open_tokenizer(
        changed(pair_tokenizer, tmp_path, model=content["model"] | {"vocab": vocabulary, "merges": []})
    )
    with pytest.raises(UserError, match="no token for the single byte 0xff"):
        tokenizer.encode(b"a\xff")


def test_chunks_are_the_text_and_end_after_newlines():
    lines = b"a line of text\n" * (3 * CHUNK // 15)
    for text in (lines, b"x" * (2 * CHUNK + 5), b"", b"x" * CHUNK + b"\n" + b"y" * 10):
        parts = list(chunks(np.frombuffer(text, dtype=np.uint8)))
        assert b"".join(parts) == text
        assert all(len(part) <= CHUNK for part in parts)
        if text is lines:
            assert all(part.endswith(b"\n") for part in parts[:-1])


def test_a_corpus_of_tokens_has_the_text_of_the_corpus_of_bytes(tmp_path, text_file, pair_tokenizer):
    def corpus(tokenizer):
        return open_corpus(
            DataConfig("made", "text", str(text_file), [0.8, 0.1, 0.1], tokenizer, cache_dir=str(tmp_path / "cache"))
        )

    text, tokens = corpus("bytes"), corpus(str(pair_tokenizer))
    assert tokens.sha256 == text.sha256
    assert tokens.bytes_per_split() == text.bytes_per_split() == text.tokens_per_split()
    assert tokens.vocabulary_size == 32_768
    for name in ("train", "validation", "test"):
        split = tokens.split(name)
        assert isinstance(split, Split) and split.tokens.dtype == np.uint16 and not split.tokens.flags.writeable
        assert len(split) == tokens.tokens_per_split()[name] < len(text.split(name))
        assert b"".join(tokens.tokenizer.decode(split.tokens.tolist())) == text.split(name).tokens.tobytes()
        assert split.n_bytes() == tokens.bytes_per_split()[name]
    again = corpus(str(pair_tokenizer))
    assert again.path == tokens.path and again.path != text.path


def test_a_damaged_cache_of_tokens_is_made_again(tmp_path, text_file, pair_tokenizer, caplog):
    config = DataConfig("made", "text", str(text_file), [0.8, 0.1, 0.1], str(pair_tokenizer), cache_dir=str(tmp_path))
    first = open_corpus(config)
    wanted = first.split("train").tokens.copy()
    first.path.write_bytes(b"\0" * first.path.stat().st_size)
    assert (open_corpus(config).split("train").tokens == wanted).all()
    assert "damaged" in caplog.text
