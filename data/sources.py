"""Where corpora come from: one function per value of `data.source`."""

from collections.abc import Callable

from configs.errors import UserError
from configs.schema import DataConfig
from data.code import open_code
from data.corpus import Corpus, tokenized
from data.enwik8 import open_enwik8
from data.standard_library import open_standard_library
from data.text import open_text
from data.tokenizers import BYTES, open_tokenizer

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
