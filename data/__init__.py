"""Corpora of tokens and the windows that are cut from them.

`data.language` (the Lightning data module) is not imported here: Lightning takes seconds, and evaluation or a benchmark
does without it.
"""

from data.corpus import Corpus
from data.sources import open_corpus
from data.windows import IGNORE, Batch, evaluation_batches, steps_per_epoch, training_batch

__all__ = ["IGNORE", "Batch", "Corpus", "evaluation_batches", "open_corpus", "steps_per_epoch", "training_batch"]
