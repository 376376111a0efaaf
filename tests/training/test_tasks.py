"""A second task is an entry in one table: its batches, its loss and its validation; everything else trains it as is."""

import sys
from typing import NamedTuple

import pytest
import torch.nn.functional as F
from torch import Tensor

from configs.errors import UserError
from data.language import LanguageData
from data.windows import IGNORE
from training.run import run
from training.run_record.record import load_record
from training.step import TrainingModule
from training.tasks import TASKS, Task, language_data, language_validation


class Pair(NamedTuple):
    source: Tensor
    translation: Tensor
    n_targets: int
    n_bytes: int


class PairData(LanguageData):
    """Windows of a text and the same windows as their translation."""

    def batch(self, step, rank, world_size, micro):
        inputs, targets, *counts = super().batch(step, rank, world_size, micro)
        return Pair(inputs, inputs.where(targets != IGNORE, IGNORE), *counts)


class PairModule(TrainingModule):
    """Copies: each position of the translation is the token read there."""

    def nats(self, batch):
        logits = self.model(batch.source).flatten(0, 1)
        return F.cross_entropy(logits, batch.translation.flatten(), ignore_index=IGNORE, reduction="sum")


def pair_data(config):
    data = language_data(config)
    return PairData(data.corpus, data.context, data.batch_size, data.seed, data.windows_per_pass)


def test_a_second_task_is_trained_and_resumed(make_config, tmp_path, monkeypatch, same_weights):
    def pair_validation(*arguments):
        validated.append(arguments)
        return language_validation(*arguments)

    validated = []
    monkeypatch.setitem(TASKS, "pairs", Task(pair_data, PairModule, pair_validation))
    config = make_config("trainer.micro_batch_size=4")
    config.task = "pairs"
    record = run(config)
    assert record.status == load_record(tmp_path / "run").status == "done" and len(validated) == 1
    assert record.config["task"] == "pairs"
    assert record.rows("train")[-1]["nats"] < 0.1, "to copy is easy"

    whole, config.run_dir = tmp_path / "run", str(tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(PairModule, "ends_step", lambda self, index: sys.exit("cut") if index == 38 else index % 2 == 1)
        with pytest.raises(SystemExit):
            run(config)
    assert load_record(tmp_path / "cut").status == "failed"
    run(config)
    same_weights(whole, tmp_path / "cut")


def test_the_config_knows_the_tasks_and_no_others(make_config):
    assert make_config("task=language").task == "language" and set(TASKS) == {"language", "recall", "translation"}
    with pytest.raises(UserError, match=r"task=pairs: legal values are language, recall, translation"):
        make_config("task=pairs")
