"""Where text and strings come from: one function per value of `data.source`."""

from collections.abc import Callable

from configs.errors import UserError
from configs.schema import DataConfig, StringsConfig
from data.code import open_code
from data.corpus import Corpus, tokenized
from data.enwik8 import open_enwik8
from data.standard_library import open_standard_library
from data.strings import Strings
from data.text import open_text
from data.tokenizers import BYTES, open_tokenizer, vocabulary_size

SOURCES: dict[str, Callable[[DataConfig], Corpus]] = {
    "stdlib": open_standard_library,
    "enwik8": open_enwik8,
    "code": open_code,
    "text": open_text,
}


def open_corpus(config: DataConfig) -> Corpus:
    """The corpus that `config` names, from the cache when it was made before. UserError tells what the user can do."""
    if config.source not in SOURCES:
        raise UserError(f"data.source={config.source} is unknown; choose one of {', '.join(SOURCES)}")
    tokenizer = open_tokenizer(config.tokenizer)  # before a download, not after
    corpus = SOURCES[config.source](config)
    return corpus if tokenizer.name == BYTES else tokenized(config, corpus, tokenizer)


def open_data(config: DataConfig | StringsConfig) -> Corpus | Strings:
    """The corpus or the strings that a run config names; both have a `sha256`. UserError as of `open_corpus`."""
    return Strings(config) if isinstance(config, StringsConfig) else open_corpus(config)


def vocabulary_of(config: DataConfig | StringsConfig) -> int:
    """How many different tokens there are, without opening a corpus. UserError for a tokenizer that cannot be."""
    return config.alphabet if isinstance(config, StringsConfig) else vocabulary_size(config.tokenizer)
