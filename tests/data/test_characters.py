"""`data.tokenizer=characters`: a token is a byte of those that training has, and the text is found again in it."""

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from data.characters import CharacterTokenizer
from data.sources import open_corpus, vocabulary_size

TEXT = "über the phase\n of an oscillator, x\n".encode() * 100


@pytest.fixture
def config(tmp_path):
    def config(content, **options):
        path = tmp_path / "text.txt"
        path.write_bytes(content)
        given = {"name": "mine", "source": "text", "path": str(path), "cache_dir": str(tmp_path / "cache")}
        return DataConfig(**given | {"tokenizer": "characters"} | options)

    return config


def test_the_vocabulary_is_the_sorted_bytes_of_the_text(config):
    corpus = open_corpus(config(TEXT))
    alphabet = bytes(sorted(set(TEXT)))
    assert corpus.tokenizer == CharacterTokenizer(alphabet=alphabet)
    assert corpus.vocabulary_size == len(alphabet) == vocabulary_size(config(TEXT)) < 40
    assert corpus.tokens_per_split() == corpus.bytes_per_split()
    for name in ("train", "validation", "test"):
        split = corpus.split(name)
        assert split.tokens.dtype == np.uint8 and split.vocabulary_size == len(alphabet)
        assert bytes(alphabet[token] for token in split.tokens) == bytes(corpus.text(name))
        assert split.n_bytes() == len(split) and split.token_bytes is None
        assert split.follows == alphabet.index(b"\n")


def test_a_split_with_a_byte_that_training_lacks_is_one_line_that_names_it(config):
    for content, says in (
        (TEXT[:3450] + b"Q" + TEXT[:200], r"the validation split of mine has the byte 0x51 \('Q'\)"),
        (TEXT + b"\xff", r"the test split of mine has the byte 0xff"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            open_corpus(config(content))
        assert "\n" not in str(caught.value) and "type data.tokenizer=bytes" in str(caught.value)


@pytest.mark.parametrize("alphabet", [b" abc", b"\n abc", bytes(range(256)), b"xyz"])
def test_text_is_found_again(alphabet):
    tokenizer = CharacterTokenizer(alphabet=alphabet)
    text = alphabet * 3 + alphabet[::-1]
    tokens = tokenizer.encode(text)
    assert tokens.tolist() == [alphabet.index(byte) for byte in text]
    assert b"".join(tokenizer.decode(tokens.tolist())) == text
    assert tokenizer.characters.encode("latin-1") == alphabet
    follows = b"\n" if b"\n" in alphabet else b" " if b" " in alphabet else b"x"
    assert b"".join(tokenizer.decode([tokenizer.follows])) == follows


@pytest.mark.parametrize(("text", "named"), [(b"abQc", "'Q'"), ("aéb".encode(), "'é'"), (b"a\xffb", r"'\\udcff'")])
def test_a_character_outside_is_one_line_that_names_it(text, named):
    with pytest.raises(UserError, match=named + " is none of the 4 characters ' abc' that the model") as caught:
        CharacterTokenizer(alphabet=b" abc").encode(text)
    assert "\n" not in str(caught.value)
