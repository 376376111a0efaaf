"""Batches of a corpus."""

import functools

from configs.counted import counted
from configs.errors import UserError
from data.corpus import Corpus
from data.split import Split
from data.tokenizers import ONE_BYTE
from data.training_data import WindowData
from data.windows import Batch, steps_per_epoch, training_batch


class LanguageData(WindowData):
    """Windows of a corpus. UserError as of `WindowData`, and for a context longer than a split."""

    steps_per_epoch: int

    def __init__(
        self, corpus: Corpus, context: int, batch_size: int, seed: int, windows_per_pass: int | None = None
    ) -> None:
        if context < 2:
            raise UserError(f"data.context={context} is too short; give at least 2")
        for name, n_tokens in corpus.tokens_per_split().items():
            if context > n_tokens:
                shortest = min(corpus.tokens_per_split().values())
                raise UserError(
                    f"data.context={context} is longer than the {name} split ({counted(n_tokens, 'token')}); "
                    + (f"type data.context={shortest} or less, or " if shortest > 1 else "")
                    + "give more text"
                )
        super().__init__(context, batch_size, seed, windows_per_pass)
        self.corpus = corpus
        self.vocabulary_size = corpus.vocabulary_size
        self.place = str(corpus.path)
        self.tokenizer_file = None if corpus.tokenizer.name in ONE_BYTE else corpus.tokenizer.content
        self.steps_per_epoch = steps_per_epoch(corpus.tokens_per_split()["train"], context, batch_size)

    @functools.cached_property
    def _train(self) -> Split:
        return self.corpus.split("train")  # mapped once, not for every batch

    def batch(self, step: int, rank: int, world_size: int, micro: int) -> Batch:
        epoch, index = divmod(step, self.steps_per_epoch)
        return training_batch(
            self._train,
            self.context,
            self.batch_size,
            self.seed,
            epoch,
            index,
            rank=rank,
            world_size=world_size,
            micro=micro,
            n_micro=self.n_micro,
        )
