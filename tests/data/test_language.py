"""The Lightning data module: a resumed run sees the batches it would have seen, and ends epochs where it should."""

import itertools
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch

from configs.errors import UserError
from data.corpus import Corpus
from data.language import LanguageData
from data.windows import training_batch

CONTEXT, BATCH, STEPS_PER_EPOCH, TOTAL = 16, 12, 5, 13


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    content = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8).tobytes()
    path = tmp_path_factory.mktemp("corpus") / "content.bin"
    path.write_bytes(content)
    return Corpus("toy", "0" * 64, path, {"train": (0, 800), "validation": (800, 900), "test": (900, 1000)}, {})


class Toy(lightning.LightningModule):
    """One weight whose value depends on every batch and on their order; remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))
        self.seen, self.epoch_ends = [], []

    def training_step(self, batch, batch_index):
        self.seen.append((self.trainer.global_step, tuple(batch.targets.flatten().tolist())))
        return (self.weight**2) * batch.targets.float().mean() / 100

    def on_train_epoch_end(self):
        self.epoch_ends.append(self.trainer.global_step)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class StopAndSave(lightning.Callback):
    """Saves a checkpoint from the named place, after `batches` batches, and stops the fit there."""

    def __init__(self, batches, place, path):
        self.batches, self.place, self.path = batches, place, path
        self.done = 0

    def on_train_batch_end(self, trainer, *_):
        self.done += 1
        if self.done == self.batches:
            trainer.should_stop = True
            self._save(trainer, "batch end")

    def on_train_epoch_end(self, trainer, module):
        if self.done == self.batches:
            self._save(trainer, "epoch end")

    def on_train_end(self, trainer, module):
        self._save(trainer, "train end")

    def _save(self, trainer, place):
        if place == self.place:
            trainer.save_checkpoint(self.path)


def fit(corpus, micro, limits, callbacks=(), checkpoint=None):
    data = LanguageData(corpus, CONTEXT, BATCH, seed=0, windows_per_pass=micro)
    module = Toy()
    trainer = lightning.Trainer(
        **{"max_steps": -1, "max_epochs": -1, **limits},
        accumulate_grad_batches=data.n_micro,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return module, trainer, data


@pytest.mark.parametrize("limits", [{"max_steps": TOTAL}, {"max_epochs": 3}], ids=["max_steps", "max_epochs"])
@pytest.mark.parametrize("micro", [None, 4], ids=["whole", "accumulated"])
def test_a_resumed_run_is_the_run_that_never_stopped(corpus, tmp_path, micro, limits):
    straight, trainer, data = fit(corpus, micro, limits)
    assert data.steps_per_epoch == STEPS_PER_EPOCH
    split = corpus.split("train")
    expected = [
        training_batch(split, CONTEXT, BATCH, 0, *divmod(step, STEPS_PER_EPOCH), micro=part, n_micro=data.n_micro)
        for step in range(trainer.global_step)
        for part in range(data.n_micro)
    ]
    assert [targets for _, targets in straight.seen] == [tuple(b.targets.flatten().tolist()) for b in expected]

    # Stopped in the first epoch, in a later one, and at an epoch's last step, saved from every hook that could.
    for stop, place in itertools.product((2, 7, STEPS_PER_EPOCH), ("batch end", "epoch end", "train end")):
        path = tmp_path / f"{stop}-{place}.ckpt"
        fit(corpus, micro, limits, [StopAndSave(stop * data.n_micro, place, path)])
        resumed, resumed_trainer, _ = fit(corpus, micro, limits, checkpoint=path)
        where = f"stopped after {stop} steps, saved at {place}"
        assert resumed.seen == straight.seen[stop * data.n_micro :], where
        assert resumed.weight.item() == straight.weight.item(), where
        assert resumed.epoch_ends == [step for step in straight.epoch_ends if step > stop], where
        assert resumed_trainer.global_step == trainer.global_step, where
        assert resumed_trainer.current_epoch == trainer.current_epoch, where


def test_a_checkpoint_from_between_two_micro_batches_repeats_the_whole_step(corpus, tmp_path):
    straight, _, data = fit(corpus, 4, {"max_steps": TOTAL})
    path = tmp_path / "between.ckpt"
    fit(corpus, 4, {"max_steps": TOTAL}, [StopAndSave(6 * data.n_micro + 1, "batch end", path)])
    resumed, _, _ = fit(corpus, 4, {"max_steps": TOTAL}, checkpoint=path)
    assert resumed.seen == straight.seen[6 * data.n_micro :]
    assert resumed.epoch_ends == straight.epoch_ends[1:]
    assert resumed.weight.item() == straight.weight.item()


def test_the_loader_starts_anywhere_and_serves_each_rank_its_part(corpus):
    data = LanguageData(corpus, CONTEXT, BATCH, seed=1, windows_per_pass=6)
    parts = []
    for rank in range(2):
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank, global_step=0)
        loader = data.train_dataloader()
        assert len(loader) == STEPS_PER_EPOCH * 2
        next(iter(loader))
        data.trainer.global_step = 8
        parts.append(list(loader))
    whole = [training_batch(corpus.split("train"), CONTEXT, BATCH, 1, 1, index) for index in (3, 4)]
    assert [len(part) for part in parts] == [4, 4]
    for i, batch in enumerate(whole):
        pieces = [parts[rank][2 * i + micro] for micro in range(2) for rank in range(2)]
        assert torch.equal(torch.cat([piece.targets for piece in pieces]), batch.targets)
        assert {piece.n_targets for piece in pieces} == {batch.n_targets}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"context": 101}, "data.context=101 is longer than the validation split (100 bytes); give a shorter"),
        ({"context": 1}, "data.context=1 is too short"),
        ({"windows_per_pass": 5}, "windows_per_pass=5 does not divide batch_size=12"),
        ({"windows_per_pass": 0}, "windows_per_pass=0 does not divide batch_size=12"),
        ({"batch_size": 0}, "batch_size=0 is not a batch"),
        ({"seed": -1}, "seed=-1 is negative"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(corpus, arguments, line):
    with pytest.raises(UserError) as caught:
        LanguageData(**{"corpus": corpus, "context": CONTEXT, "batch_size": BATCH, "seed": 0, **arguments})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_that_does_not_divide_over_the_devices_is_one_line(corpus):
    data = LanguageData(corpus, CONTEXT, BATCH, seed=0, windows_per_pass=4)
    data.trainer = SimpleNamespace(world_size=3, global_rank=0, global_step=0)
    with pytest.raises(UserError, match="4 windows per pass do not divide over 3 devices"):
        data.train_dataloader()
