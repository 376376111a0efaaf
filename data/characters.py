"""`data.tokenizer=characters`: a token is a byte, and the vocabulary is of those bytes that the training text has.

Its tables are as small as the text allows, which is most of what a small model saves: 27 rows for text8, not 256.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import UserError
from data.corpus import Corpus
from data.cuts import SPACE, SPLITS
from data.split import NEWLINE
from data.tokenizers import CHARACTERS, Tokenizer
from data.unpacking import CHUNK


@dataclass(frozen=True)
class CharacterTokenizer(Tokenizer):
    """Token k is the k-th byte of `alphabet`, which is sorted and has each byte once."""

    name: str = CHARACTERS
    alphabet: bytes = b""

    @property
    def characters(self) -> str:
        return self.alphabet.decode("latin-1")

    @property
    def recipe(self) -> dict[str, Any]:
        return {"tokenizer": self.name, "characters": self.characters}

    @property
    def vocabulary_size(self) -> int:
        return len(self.alphabet)

    @property
    def follows(self) -> int:
        """A newline's token, else a space's, else that of the first byte (our choice)."""
        return next((self.alphabet.index(byte) for byte in (NEWLINE, SPACE) if byte in self.alphabet), 0)

    @functools.cached_property
    def _tokens(self) -> bytes:
        """Of each byte its token."""
        return bytes.maketrans(self.alphabet, bytes(range(len(self.alphabet))))

    def encode(self, text: bytes) -> np.ndarray:
        """Tokens (n,) uint8. UserError for a byte that is not in the alphabet."""
        if text.translate(None, self.alphabet):
            # Of a character of several bytes the user typed the whole.
            typed = text.decode(errors="surrogateescape")
            outside = next(c for c in typed if c.encode(errors="surrogateescape").translate(None, self.alphabet))
            known = f" {self.characters!r}" if self.characters.isprintable() else ""
            raise UserError(
                f"{outside!r} is none of the {self.vocabulary_size} characters{known} that the model was trained on; "
                "leave it out"
            )
        return np.frombuffer(text.translate(self._tokens), dtype=np.uint8)

    def decode(self, tokens: Iterable[int]) -> Iterator[bytes]:
        return (self.alphabet[token : token + 1] for token in tokens)


def alphabet_of(corpus: Corpus) -> bytes:
    """The bytes of a corpus' training split, sorted. UserError where another split has a byte that it lacks."""
    train, *others = (_bytes_of(corpus.text(name)) for name in SPLITS)
    for name, found in zip(SPLITS[1:], others, strict=True):
        if lacking := sorted(found - train):
            raise UserError(
                f"data.tokenizer=characters: the {name} split of {corpus.name} has the byte 0x{lacking[0]:02x} "
                f"({chr(lacking[0])!r}), which its training split lacks; type data.tokenizer=bytes"
            )
    return bytes(sorted(train))


def _bytes_of(text: np.ndarray) -> set[int]:
    """The distinct bytes of a text, (n,) uint8."""
    seen = np.zeros(256, dtype=bool)
    for start in range(0, len(text), CHUNK):
        seen |= np.bincount(text[start : start + CHUNK], minlength=256) > 0
    return set(np.flatnonzero(seen).tolist())
