"""`data=text27 data.path=FILE`: any local file as 27 characters, a-z and the space, cut where words begin."""

from dataclasses import replace

import numpy as np

from configs.schema import DataConfig
from data.corpus import Corpus
from data.cuts import at_words
from data.letters import RECIPE, letters
from data.text import open_file


def open_text27(config: DataConfig) -> Corpus:
    """The letters of one local file, split after they were taken. UserError as of `open_text`."""
    corpus = open_file(config, RECIPE, letters)
    whole = np.memmap(corpus.path, dtype=np.uint8, mode="r")
    return replace(corpus, splits=at_words(whole, corpus.splits))
