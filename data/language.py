"""Batches of a corpus for Lightning: which ones come next follows from the global step alone."""

import itertools
from collections.abc import Iterator

import lightning

from configs.errors import UserError
from data.corpus import Corpus
from data.windows import Batch, steps_per_epoch, training_batch


class LanguageData(lightning.LightningDataModule):
    """Training batches of `batch_size` windows of `context` tokens, over all devices.

    `windows_per_pass` windows (over all devices; None: the whole batch) go through the model at a time, so `n_micro`
    batches of the loader make one optimizer step: give the trainer accumulate_grad_batches=n_micro.
    UserError for a context longer than a split, a micro batch that does not divide the batch, a negative seed.
    """

    def __init__(
        self, corpus: Corpus, context: int, batch_size: int, seed: int, windows_per_pass: int | None = None
    ) -> None:
        super().__init__()
        if context < 2:
            raise UserError(f"data.context={context} is too short; give at least 2")
        for name, n_tokens in corpus.tokens_per_split().items():
            if context > n_tokens:
                raise UserError(
                    f"data.context={context} is longer than the {name} split ({n_tokens} tokens); "
                    "give a shorter context or more text"
                )
        micro = batch_size if windows_per_pass is None else windows_per_pass
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is not a batch; give at least 1")
        if micro < 1 or batch_size % micro:
            raise UserError(f"windows_per_pass={micro} does not divide batch_size={batch_size}; give a divisor of it")
        if seed < 0:
            raise UserError(f"seed={seed} is negative; give 0 or more")
        self.corpus = corpus
        self.context = context
        self.batch_size = batch_size
        self.seed = seed
        self.windows_per_pass = micro
        self.n_micro = batch_size // micro
        self.steps_per_epoch = steps_per_epoch(corpus.tokens_per_split()["train"], context, batch_size)

    def train_dataloader(self) -> Iterator[Batch]:
        """This rank's micro batches from the trainer's global step on, without end.

        UserError when they do not divide over the devices.
        """
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("LanguageData serves a Lightning trainer; without one use data.windows.training_batch")
        if self.windows_per_pass % trainer.world_size:
            raise UserError(
                f"{self.windows_per_pass} windows per pass do not divide over {trainer.world_size} devices; "
                "change batch_size, trainer.micro_batch_size or trainer.devices"
            )
        split = self.corpus.split("train")
        return (
            training_batch(
                split,
                self.context,
                self.batch_size,
                self.seed,
                *divmod(step, self.steps_per_epoch),
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                micro=micro,
                n_micro=self.n_micro,
            )
            for step in itertools.count(trainer.global_step)
            for micro in range(self.n_micro)
        )
