"""`data.tokenizer=words` and `bpe`: tokenizers that the training split makes, as files of the `tokenizers` library.

`words`: the official vocabulary of WikiText, every word of the training split and <eos> at the end of each line, the
commonest first and equally common ones in the order of their bytes. `bpe`: byte-level pair encoding as GPT-2's, of
`data.vocabulary` tokens. The same text and library give the same file. It is kept in the folder of the data cache as
`tokenizer-<key>.json`, beside what it was made of and its hash.
"""

import hashlib
import importlib.metadata
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from configs.errors import UserError
from configs.heartbeat import doing
from configs.schema import DataConfig, ParallelConfig
from data.atomic_write import write_whole
from data.corpus import Corpus, cache_errors, cache_folder
from data.tokenizer_file import WORD
from data.tokenizers import BPE, EOS, WORDS, Tokenizer, byte_level_name, chunks, tokenizer_of

log = logging.getLogger(__name__)

FORMAT = 1  # of the file in the cache
PIECE = 1 << 16  # bytes of text that the library is given at a time: it takes 256 of these at once


def trained_tokenizer(config: DataConfig, text: Corpus) -> Tokenizer:
    """The tokenizer of a corpus of bytes, from the cache when it was trained before.

    UserError for a text that is not spaced as `words` needs it, one too small for `data.vocabulary`, and for a cache
    that cannot be written.
    """
    name = config.tokenizer
    recipe = {
        "format": FORMAT,
        "tokenizer": name,
        "vocabulary": config.vocabulary if name == BPE else None,
        "text_sha256": text.sha256,
        "train": text.splits["train"],
        "library": importlib.metadata.version("tokenizers"),
    }

    def train() -> str:
        split = text.text("train")
        return _words(split) if name == WORDS else _bpe(split, config.vocabulary)

    return tokenizer_of(name, kept_or_trained(config, recipe, train).encode())


def kept_or_trained(config: DataConfig | ParallelConfig, recipe: dict[str, Any], train: Callable[[], str]) -> str:
    """The tokenizer.json that `train` makes, from the cache when one of this recipe was made before.

    UserError for a cache that cannot be written.
    """
    folder = cache_folder(config)
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"tokenizer-{key}.json"
    content = _cached(path)
    if content is None:
        doing(f"training the tokenizer of {config.name}")
        content = train()
        kept = json.dumps({"recipe": recipe, "sha256": _sha256(content), "content": content}).encode()

        def fill(file: BinaryIO) -> str:
            file.write(kept)
            return path.name

        with cache_errors(folder):
            write_whole(folder, fill)
    return content


def _cached(path: Path) -> str | None:
    """The content of a tokenizer.json that is kept; None when it is absent or damaged."""
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        content = str(kept["content"])
        if _sha256(content) != kept["sha256"]:
            raise ValueError("its hash is another")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        log.warning("the data cache's %s is damaged; training the tokenizer again", path)
        return None
    return content


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _words(train: np.ndarray) -> str:
    """The tokenizer.json of the words of a text, (n,) uint8."""
    from tokenizers import Regex, models, pre_tokenizers

    counts: Counter[bytes] = Counter({EOS[1:]: 0})
    for chunk in chunks(train):
        first, *words = chunk.split(b" ")
        if first:
            raise _not_spaced(first)
        counts.update(words)
    for word in counts:
        if word != EOS[1:] and word.split() != [word]:
            raise _not_spaced(b" " + word + b" ")
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = {byte_level_name(b" " + word): token for token, word in enumerate(ordered)}
    unknown = byte_level_name(b" <unk>")
    model = models.WordLevel(vocabulary, unk_token=unknown if unknown in vocabulary else None)
    return _byte_level(model, pre_tokenizers.Split(Regex(WORD), "isolated")).to_str()


def _not_spaced(where: bytes) -> UserError:
    shown = repr(where[:40].decode(errors="replace"))
    return UserError(
        "data.tokenizer=words needs text that is spaced as WikiText's is, ' w1 w2 \\n': one space before each word and "
        f"each newline; the training text has {shown}; type data.tokenizer=bpe"
    )


def _bpe(train: np.ndarray, vocabulary: int) -> str:
    """The tokenizer.json of so many tokens, trained on a text, (n,) uint8."""
    # What is not UTF-8 is left out of training alone: its bytes are tokens of their own.
    return trained_bpe((piece.decode(errors="ignore") for piece in chunks(train, PIECE)), vocabulary)


def trained_bpe(texts: Iterable[str], vocabulary: int, special: Sequence[str] = ()) -> str:
    """The tokenizer.json of a byte-level BPE of so many tokens, trained on texts. `special`: its first tokens, which no
    text has.

    UserError where the texts have not so many tokens.
    """
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = _byte_level(models.BPE(), None)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(special),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (found := tokenizer.get_vocab_size()) != vocabulary:
        raise UserError(
            f"the training text has no more than {found:,} tokens for data.vocabulary={vocabulary}; "
            f"type data.vocabulary={found} or less"
        )
    return str(tokenizer.to_str())


def _byte_level(model: Any, first: Any) -> Any:
    """A tokenizer of the library that works on bytes: cut by `first`, or where None as GPT-2's."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, pre_tokenizers

    library = Library(model)
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=first is None)
    library.pre_tokenizer = bytes_of if first is None else pre_tokenizers.Sequence([first, bytes_of])
    library.decoder = decoders.ByteLevel()
    return library
