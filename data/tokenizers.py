"""Tokenizers: how bytes of text become tokens, and how many bytes of text each token stands for.

`bytes`: a token is a byte. `characters` (data/characters.py): likewise, but the vocabulary has only those bytes that
the training text has, so it follows from the corpus. `words` and `bpe` are trained on the training text
(data/trained_tokenizers.py). These and any other are a file of the `tokenizers` library (tokenizer.json)
that works on bytes ("byte level", as GPT-2's does), so that no text is unknown and every byte is behind exactly one
token. What a tokenizer gives is checked against that: bits per byte are then exact whatever the vocabulary.
"""

import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.printable import shortened
from configs.strict import nearest
from data.files import existing_file, kind_of_file, recorded_name, unreadable, user_path
from data.split import NEWLINE, Split
from data.tokenizer_file import library_of, of_library
from data.unpacking import refused

BYTES = "bytes"  # data.tokenizer
CHARACTERS = "characters"
WORDS = "words"
BPE = "bpe"
TRAINED = (WORDS, BPE)  # those that the training text makes
EOS = b" \n"  # of words, as WikiText's lines end
NAMES = (BYTES, CHARACTERS, *TRAINED)  # any other is the path of a file
ONE_BYTE = (BYTES, CHARACTERS)  # those whose tokens stand for one byte each
BROKEN = re.compile("([\udc80-\udcff]+)")  # what surrogateescape makes of bytes that are not UTF-8
CHUNK = 1 << 20  # bytes that are tokenized at a time, cut after a newline (our choice)


@dataclass(frozen=True)
class Tokenizer:
    """Bytes as tokens; the other tokenizers are made from it."""

    name: str = BYTES
    sha256: str | None = None  # of tokenizer.json
    content: bytes = field(default=b"", compare=False, repr=False)  # of tokenizer.json
    # (V,) bytes of text that each token stands for; None: one
    token_bytes: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the tokens of a text: another release of the library may cut it otherwise."""
        library = importlib.metadata.version("tokenizers")
        return {"tokenizer_sha256": self.sha256, "dtype": np.dtype(self.dtype).name, "library": library, "chunk": CHUNK}

    @property
    def characters(self) -> str | None:
        """The bytes of the vocabulary as Latin-1, in the order of their tokens, where they follow from the corpus."""
        return None

    @property
    def vocabulary_size(self) -> int:
        return 256 if self.token_bytes is None else len(self.token_bytes)

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every token."""
        return next(t for t in (np.uint8, np.uint16, np.uint32) if self.vocabulary_size - 1 <= np.iinfo(t).max)

    @property
    def follows(self) -> int:
        """The token that a text is taken to follow: a newline's."""
        return NEWLINE

    def encode(self, text: bytes) -> np.ndarray:
        """Tokens (n,) of the tokenizer's type."""
        return np.frombuffer(text, dtype=np.uint8)

    def decode(self, tokens: Iterable[int]) -> Iterator[bytes]:
        """The bytes behind each token."""
        return (bytes([token]) for token in tokens)

    def split(self, tokens: np.ndarray) -> Split:
        """Tokens as a split."""
        return Split(tokens, self.follows, self.token_bytes, self.vocabulary_size)


@dataclass(frozen=True)
class ByteLevelTokenizer(Tokenizer):
    """A tokenizer.json. `pieces`: the bytes of each token."""

    library: Any = field(default=None, compare=False, repr=False)  # tokenizers.Tokenizer
    pieces: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    @functools.cached_property
    def _singles(self) -> dict[int, int]:
        """The token of each byte that has one of its own."""
        return {piece[0]: token for token, piece in enumerate(self.pieces) if len(piece) == 1}

    @property
    def follows(self) -> int:
        return int(self.encode(b"\n")[-1])

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The tokens of each text, as the library has them. UserError where it cannot cut one."""
        try:
            return [encoding.ids for encoding in self.library.encode_batch(texts, add_special_tokens=False)]
        except BaseException as error:
            if not of_library(error):
                raise
            raise UserError(f"data.tokenizer={self.name} cannot cut the text: {shortened(str(error))}") from error

    def encode(self, text: bytes) -> np.ndarray:
        """Tokens (n,). UserError where they do not decode to these exact bytes."""
        # A split may begin or end within a character, or not be UTF-8: each such byte is a token of its own.
        runs = BROKEN.split(text.decode(errors="surrogateescape"))
        broken = [run.encode(errors="surrogateescape") for run in runs[1::2]]
        if lacking := sorted(set(b"".join(broken)) - self._singles.keys()):
            raise UserError(
                f"data.tokenizer={self.name} has no token for the single byte 0x{lacking[0]:02x} of the text: "
                "train it with all 256 bytes as its initial alphabet"
            )
        valid = self.ids(runs[::2])
        tokens = valid[0]
        for run, after in zip(broken, valid[1:], strict=True):
            tokens += [self._singles[byte] for byte in run] + after
        if b"".join(self.decode(tokens)) != text:
            raise UserError(
                f"data.tokenizer={self.name} changes the text (a normalizer, a prefix space or an unknown token), so "
                "bits per byte would be wrong; give a byte-level one with add_prefix_space=false and no normalizer"
            )
        return np.array(tokens, dtype=self.dtype)

    def decode(self, tokens: Iterable[int]) -> Iterator[bytes]:
        return (self.pieces[token] for token in tokens)


@dataclass(frozen=True)
class WordTokenizer(ByteLevelTokenizer):
    """A tokenizer.json of words: a token is a space and the word after it, or a space and a newline, <eos>.

    A text that begins with a space decodes to its exact bytes. The library cuts likewise, but takes a word that it
    lacks for <unk>, and is slower.
    """

    @functools.cached_property
    def _tokens(self) -> dict[bytes, int]:
        """The token of each word, without its space."""
        return {piece[1:]: token for token, piece in enumerate(self.pieces)}

    @property
    def follows(self) -> int:
        return self._tokens[b"\n"]

    def encode(self, text: bytes) -> np.ndarray:
        """Tokens (n,). UserError for a text that does not begin with a space, and for a word that is no token."""
        if not text:
            return np.array([], dtype=self.dtype)
        first, *words = text.split(b" ")
        if first:
            raise UserError(
                f"tokens of {self.name} are words, each with the space before it, and this text begins with "
                f"{_shown(text[:20])}: begin with a space, and write a newline with one before it"
            )
        try:
            return np.fromiter(map(self._tokens.__getitem__, words), self.dtype, len(words))
        except KeyError as error:
            raise UserError(
                f"{_shown(error.args[0])} is none of the {self.vocabulary_size:,} words of the training text; "
                "write <unk> where that has it, or train with data.tokenizer=bpe"
            ) from None


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names, of those that follow from no corpus: "bytes", or the path of a
    tokenizer.json.

    UserError for a file that is missing, damaged or not byte level.
    """
    if name == BYTES:
        return Tokenizer()
    if (meant := nearest(name, NAMES)) and not user_path(name, "data.tokenizer").exists():
        raise UserError(
            f"data.tokenizer={name} is no file, and none of {', '.join(NAMES)}; type data.tokenizer={meant}, or give a "
            "file that is there"
        )
    path = existing_file(name, "data.tokenizer")
    if (kind := kind_of_file(path, "data.tokenizer")) is not None:
        raise refused(path, replace(kind, advice=kind.advice or "unpack it and give the tokenizer.json in it"))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, "data.tokenizer") from error
    return tokenizer_of(recorded_name(path), content)


def tokenizer_of(name: str, content: bytes) -> Tokenizer:
    """The tokenizer of the content of a tokenizer.json. UserError as of `open_tokenizer`."""
    library = library_of(name, content)
    from tokenizers.models import WordLevel

    special = {token: added.content.encode() for token, added in library.get_added_tokens_decoder().items()}
    names = [library.id_to_token(token) for token in range(library.get_vocab_size())]
    texts = [text for text in names if text is not None]
    if len(texts) < len(names):
        raise UserError(f"data.tokenizer={name}: the number {names.index(None)} is no token; its vocabulary has gaps")
    pieces = tuple(special.get(token) or _as_bytes(text) for token, text in enumerate(texts))
    token_bytes = np.array([len(piece) for piece in pieces], dtype=np.int64)
    digest = hashlib.sha256(content).hexdigest()
    of_words = isinstance(library.model, WordLevel) and EOS in pieces and all(piece[:1] == b" " for piece in pieces)
    kind = WordTokenizer if of_words else ByteLevelTokenizer
    return kind(name, digest, content, token_bytes, library, pieces)


def chunks(content: np.ndarray, size: int = CHUNK) -> Iterator[bytes]:
    """The bytes (n,) in chunks that end after a newline, or are `size` long where there is none."""
    start = 0
    while start < len(content):
        chunk = content[start : start + size].tobytes()
        if start + len(chunk) < len(content):
            chunk = chunk[: chunk.rfind(b"\n") + 1] or chunk
        start += len(chunk)
        yield chunk


@functools.cache
def _alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones of Latin-1 stand for themselves, the others for 256, 257, ..."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + k): byte for k, byte in enumerate(others)}


def _as_bytes(text: str) -> bytes:
    """The bytes of a byte-level token's name; a name with other characters is taken as it is written."""
    alphabet = _alphabet()
    return bytes(map(alphabet.__getitem__, text)) if all(c in alphabet for c in text) else text.encode()


def byte_level_name(content: bytes) -> str:
    """The name that a byte-level tokenizer has for bytes."""
    return "".join(map(_characters().__getitem__, content))


@functools.cache
def _characters() -> dict[int, str]:
    return {byte: character for character, byte in _alphabet().items()}


def _shown(content: bytes) -> str:
    return repr(content.decode(errors="replace"))
