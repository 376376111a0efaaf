"""The tokenizer of a parallel corpus: one byte-level BPE for both languages, with one special token, <eos>.

It is trained on the sentences of both sides of the training split, line after line (Sennrich et al. 2016, arXiv
1508.07909, section 3.2, joint BPE; byte level as GPT-2's is our choice). The same text and library give the same file.
<eos>, token 0, stands for the one byte that ends a line; no text has it, also not one with the characters `<eos>`.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.schema import ParallelConfig
from data.corpus import Corpus
from data.split import NEWLINE
from data.tokenizers import BPE, ByteLevelTokenizer, chunks, tokenizer_of
from data.trained_tokenizers import kept_or_trained, trained_bpe

FORMAT = 1  # of the recipe
EOS = "<eos>"


@dataclass(frozen=True)
class JointTokenizer(ByteLevelTokenizer):
    """Sentences as tokens; who needs <eos> appends it."""

    eos: int = 0  # the token <eos>

    @property
    def follows(self) -> int:
        """A text is taken to follow the end of another."""
        return self.eos

    def encode_sentences(self, sentences: Sequence[str]) -> list[list[int]]:
        """The tokens of each sentence, without <eos>. UserError where they do not decode to its exact bytes."""
        tokens = self.ids(list(sentences))
        for sentence, of_it in zip(sentences, tokens, strict=True):
            if b"".join(map(self.pieces.__getitem__, of_it)) != sentence.encode():
                raise UserError(
                    f"the tokenizer {self.name} changes the sentence {sentence[:40]!r}, so bits per byte would be "
                    "wrong; restore the file that the run was trained with"
                )
        return tokens

    def sentence(self, tokens: Iterable[int]) -> str:
        """The text of tokens up to the first <eos>. Bytes that are not UTF-8 become U+FFFD."""
        before: list[int] = []
        for token in tokens:
            if token == self.eos:
                break
            before.append(token)
        return b"".join(self.decode(before)).decode(errors="replace")


def trained_joint_tokenizer(config: ParallelConfig, text: Corpus, train_sha256: str) -> JointTokenizer:
    """The tokenizer of `data.vocabulary` tokens of a corpus' training split, from the cache when it was trained before.

    `text`: lines, those of both languages; `train_sha256`: of its training split. It is the same whatever the other
    splits are. UserError for a text too small for the vocabulary, and for a cache that cannot be written.
    """
    recipe = {
        "format": FORMAT,
        "tokenizer": "joint bpe",
        "vocabulary": config.vocabulary,
        "train_sha256": train_sha256,
        "library": importlib.metadata.version("tokenizers"),
    }

    def train() -> str:
        return trained_bpe(sentences_of(text, "train"), config.vocabulary, [EOS])

    return joint_tokenizer_of(kept_or_trained(config, recipe, train).encode())


def joint_tokenizer_of(content: bytes, name: str = BPE) -> JointTokenizer:
    """The tokenizer of the content of a tokenizer.json. UserError where it is none, not byte level or has no <eos>."""
    plain: Any = tokenizer_of(name, content)
    eos = plain.library.token_to_id(EOS)
    if eos is None:
        raise UserError(
            f"the tokenizer {name} has no token {EOS}; give the tokenizer.json of a run with task=translation"
        )
    plain.library.encode_special_tokens = True  # as characters, where a sentence has these
    pieces = tuple(bytes([NEWLINE]) if token == eos else piece for token, piece in enumerate(plain.pieces))
    token_bytes = np.array([len(piece) for piece in pieces], dtype=np.int64)
    return JointTokenizer(name, plain.sha256, content, token_bytes, plain.library, pieces, eos)


def sentences_of(text: Corpus, split: str) -> Iterator[str]:
    """The lines of a split, a source and its target in turn."""
    rest = b""
    for chunk in chunks(text.text(split)):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in lines)
