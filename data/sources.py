"""Where text and strings come from: one function per value of `data.source`; and the tokenizer of text."""

import functools
from collections.abc import Callable

from configs.errors import UserError
from configs.schema import DataConfig, ParallelConfig, StringsConfig
from data.characters import CharacterTokenizer, alphabet_of
from data.code import open_code
from data.corpus import Corpus, tokenized
from data.enwik8 import open_enwik8
from data.letters import LETTERS
from data.parallel import ParallelCorpus, open_parallel
from data.standard_library import open_standard_library
from data.strings import Strings
from data.text import open_text
from data.text8 import open_text8
from data.text27 import open_text27
from data.tokenizers import BPE, BYTES, CHARACTERS, TRAINED, WORDS, open_tokenizer
from data.trained_tokenizers import trained_tokenizer
from data.wikitext import open_wikitext103

SOURCES: dict[str, Callable[[DataConfig], Corpus]] = {
    "stdlib": open_standard_library,
    "enwik8": open_enwik8,
    "code": open_code,
    "text": open_text,
    "text8": open_text8,
    "text27": open_text27,
    "wikitext103": open_wikitext103,
}
# Corpora whose characters are known before they are opened: all of these, also where a short text lacks some.
ALPHABETS = {"text8": LETTERS, "text27": LETTERS}


def open_corpus(config: DataConfig, text: Corpus | None = None) -> Corpus:
    """The corpus that `config` names, from the cache when it was made before; or `text`, that of a run, as its tokens.

    UserError tells what the user can do.
    """
    if config.source not in SOURCES:
        raise UserError(f"data.source={config.source} is unknown; choose one of {', '.join(SOURCES)}")
    if config.tokenizer == CHARACTERS:
        corpus = text or SOURCES[config.source](config)
        alphabet = ALPHABETS.get(config.source) or alphabet_of(corpus)
        return tokenized(config, corpus, CharacterTokenizer(alphabet=alphabet))
    if config.tokenizer in TRAINED:
        corpus = text or SOURCES[config.source](config)
        return tokenized(config, corpus, trained_tokenizer(config, corpus))
    tokenizer = open_tokenizer(config.tokenizer)  # before a download, not after
    corpus = text or SOURCES[config.source](config)
    return corpus if tokenizer.name == BYTES else tokenized(config, corpus, tokenizer)


def open_data(config: DataConfig | ParallelConfig | StringsConfig) -> Corpus | ParallelCorpus | Strings:
    """The corpus or the strings that a run config names; each has a `sha256`. UserError as of `open_corpus`."""
    if isinstance(config, ParallelConfig):
        return open_parallel(config)
    return Strings(config) if isinstance(config, StringsConfig) else open_corpus(config)


def vocabulary_size(config: DataConfig | ParallelConfig | StringsConfig) -> int:
    """V of what `config` names, which is opened only where its characters or words are not known before.

    UserError as of `open_corpus`.
    """
    if isinstance(config, StringsConfig):
        return config.alphabet
    if isinstance(config, ParallelConfig):
        return config.vocabulary
    if config.tokenizer == BPE:
        return config.vocabulary
    if config.tokenizer == WORDS:
        return open_corpus(config).vocabulary_size
    if config.tokenizer != CHARACTERS:
        return _size(config.tokenizer)
    alphabet = ALPHABETS.get(config.source)
    return open_corpus(config).vocabulary_size if alphabet is None else len(alphabet)


@functools.cache
def _size(tokenizer: str) -> int:
    return open_tokenizer(tokenizer).vocabulary_size
