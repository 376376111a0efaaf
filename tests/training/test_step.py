"""The step of any task: a fit that stops anywhere, and goes on from a checkpoint that any hook wrote, sees the batches
and takes the steps that it would have taken.
"""

import itertools

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from configs.schema import OptimConfig
from data.corpus import Corpus
from data.language import LanguageData
from data.windows import IGNORE, training_batch
from training.batches import Batches
from training.schedule import lr_factor
from training.step import TrainingModule

CONTEXT, BATCH, STEPS_PER_EPOCH, TOTAL = 16, 12, 5, 13
OPTIM = OptimConfig(lr=0.01, embedding_lr=3.0, warmup_steps=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    content = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8).tobytes()
    path = tmp_path_factory.mktemp("corpus") / "content.bin"
    path.write_bytes(content)
    return Corpus("toy", "0" * 64, path, {"train": (0, 800), "validation": (800, 900), "test": (900, 1000)}, {})


class Averages(nn.Module):
    """Two weights, whose values depend on every batch and on their order."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1, 1)
        self.bias = nn.Parameter(torch.tensor(0.5))
        nn.init.zeros_(self.embedding.weight)

    def embeddings(self):
        return [self.embedding.weight]


class Toy(TrainingModule):
    """The squared distance to each byte; remembers which batches it saw, and the rates of every step."""

    def __init__(self, n_micro):
        super().__init__(Averages(), OPTIM, TOTAL, n_micro)
        self.seen, self.rates = [], []

    def nats(self, batch):
        self.seen.append((self.trainer.global_step, tuple(batch.targets.flatten().tolist())))
        prediction = self.model.embedding.weight[0, 0] + self.model.bias
        return ((batch.targets[batch.targets != IGNORE] / 256 - prediction) ** 2).sum()

    def on_before_optimizer_step(self, optimizer):
        self.rates.append((self.lr, {group["lr_scale"]: group["lr"] for group in optimizer.param_groups}))


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
        self._save(trainer, "epoch end")

    def on_train_end(self, trainer, module):
        self._save(trainer, "train end")

    def _save(self, trainer, place):
        if place == self.place:
            trainer.save_checkpoint(self.path)


def fit(corpus, micro, callbacks=(), checkpoint=None):
    data = LanguageData(corpus, CONTEXT, BATCH, seed=0, windows_per_pass=micro)
    module = Toy(data.n_micro)
    trainer = lightning.Trainer(
        max_steps=TOTAL,
        max_epochs=-1,
        accumulate_grad_batches=data.n_micro,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, Batches(data), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    assert trainer.global_step == TOTAL or callbacks
    return module, data


def same(module, other):
    return all(map(torch.equal, module.parameters(), other.parameters()))


@pytest.mark.parametrize("micro", [None, 4], ids=["whole", "accumulated"])
def test_a_resumed_fit_is_the_fit_that_never_stopped(corpus, tmp_path, micro):
    straight, data = fit(corpus, micro)
    assert data.steps_per_epoch == STEPS_PER_EPOCH
    split = corpus.split("train")
    expected = [
        training_batch(split, CONTEXT, BATCH, 0, *divmod(step, STEPS_PER_EPOCH), micro=part, n_micro=data.n_micro)
        for step in range(TOTAL)
        for part in range(data.n_micro)
    ]
    assert [targets for _, targets in straight.seen] == [tuple(b.targets.flatten().tolist()) for b in expected]

    # Stopped in the first epoch, in a later one, and at an epoch's last step, saved from every hook that could.
    for stop, place in itertools.product((2, 7, STEPS_PER_EPOCH), ("batch end", "epoch end", "train end")):
        path = tmp_path / f"{stop}-{place}.ckpt"
        fit(corpus, micro, [StopAndSave(stop * data.n_micro, place, path)])
        resumed, _ = fit(corpus, micro, checkpoint=path)
        where = f"stopped after {stop} steps, saved at {place}"
        assert resumed.seen == straight.seen[stop * data.n_micro :], where
        assert same(resumed, straight), where


def test_a_checkpoint_from_between_two_micro_batches_repeats_the_whole_step(corpus, tmp_path):
    straight, data = fit(corpus, 4)
    path = tmp_path / "between.ckpt"
    fit(corpus, 4, [StopAndSave(6 * data.n_micro + 1, "batch end", path)])
    resumed, _ = fit(corpus, 4, checkpoint=path)
    assert resumed.seen == straight.seen[6 * data.n_micro :]
    assert same(resumed, straight)


def test_every_step_takes_its_rate_and_every_group_its_multiple(corpus, tmp_path):
    straight, _ = fit(corpus, 4)
    expected = [OPTIM.lr * lr_factor(step, TOTAL, OPTIM) for step in range(TOTAL)]
    assert [lr for lr, _ in straight.rates] == pytest.approx(expected)
    assert [rates[1.0] for _, rates in straight.rates] == pytest.approx(expected)
    assert [rates[3.0] for _, rates in straight.rates] == pytest.approx([3 * rate for rate in expected])

    path = tmp_path / "seven.ckpt"
    fit(corpus, 4, [StopAndSave(7 * 3, "batch end", path)])
    resumed, _ = fit(corpus, 4, checkpoint=path)
    assert resumed.rates == straight.rates[7:]
