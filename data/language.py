"""Batches of a corpus for Lightning: which ones come next follows from the global step alone."""

from collections.abc import Iterator
from typing import Any

import lightning

from configs.errors import UserError
from data.corpus import Corpus
from data.windows import Batch, steps_per_epoch, training_batch


class LanguageData(lightning.LightningDataModule):
    """Training batches of `batch_size` windows of `context` bytes, over all devices.

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
        for name, n_bytes in corpus.bytes_per_split().items():
            if context > n_bytes:
                raise UserError(
                    f"data.context={context} is longer than the {name} split ({n_bytes} bytes); "
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
        self.steps_per_epoch = steps_per_epoch(corpus.bytes_per_split()["train"], context, batch_size)

    def train_dataloader(self) -> "EpochBatches":
        """A sized loader of this rank's micro batches. UserError when they do not divide over the devices."""
        if self.trainer is None:
            raise RuntimeError("LanguageData serves a Lightning trainer; without one use data.windows.training_batch")
        devices = self.trainer.world_size
        if self.windows_per_pass % devices:
            raise UserError(
                f"{self.windows_per_pass} windows per pass do not divide over {devices} devices; "
                "change batch_size, trainer.micro_batch_size or trainer.devices"
            )
        return EpochBatches(self, self.trainer)


class EpochBatches:
    """The micro batches of the trainer's current epoch, from its current global step on.

    `len` is that of a whole epoch, which is what Lightning counts in. There is no state to save: `state_dict` is there
    because Lightning warns about loaders that cannot resume, and this one can.
    """

    def __init__(self, data: LanguageData, trainer: lightning.Trainer) -> None:
        self.data = data
        self.trainer = trainer
        self._split = data.corpus.split("train")
        self._served = False

    def __len__(self) -> int:
        return self.data.steps_per_epoch * self.data.n_micro

    def __iter__(self) -> Iterator[Batch]:
        if not self._served and self.trainer.global_step:
            _set_progress(self.trainer, self.data.steps_per_epoch, self.data.n_micro)
        self._served = True
        return self._from(*divmod(self.trainer.global_step, self.data.steps_per_epoch))

    def _from(self, epoch: int, first: int) -> Iterator[Batch]:
        data, rank, devices = self.data, self.trainer.global_rank, self.trainer.world_size
        for index in range(first, data.steps_per_epoch):
            for micro in range(data.n_micro):
                yield training_batch(
                    self._split,
                    data.context,
                    data.batch_size,
                    data.seed,
                    epoch,
                    index,
                    rank=rank,
                    world_size=devices,
                    micro=micro,
                    n_micro=data.n_micro,
                )

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def _set_progress(trainer: lightning.Trainer, steps_per_epoch: int, n_micro: int) -> None:
    """Sets Lightning's counters of a resumed run to what the global step says.

    What a checkpoint says of epochs and batches depends on the hook that wrote it: one written after a fit that stopped
    mid-epoch counts that epoch as done, one written at an epoch's end would go on with one batch of the next epoch in
    the old one, and one written between two micro batches would pair them wrongly. The global step is always right.
    """
    epoch, index = divmod(trainer.global_step, steps_per_epoch)
    begun = epoch + (index > 0)
    epochs = {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    loop = trainer.fit_loop
    loop.epoch_progress.load_state_dict({"total": epochs, "current": epochs})
    loop.epoch_loop.batch_progress.load_state_dict(
        {
            "total": _all_done(trainer.global_step * n_micro),
            "current": _all_done(index * n_micro),
            "is_last_batch": False,
        }
    )
    loop.epoch_loop._batches_that_stepped = trainer.global_step  # the step that Lightning's loggers are told
    loop.restarting = True  # go on from these counters instead of setting them to zero


def _all_done(n: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), n)
