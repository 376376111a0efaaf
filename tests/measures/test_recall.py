"""Accuracy and loss at the scored symbols alone, whatever the size of a batch."""

import math

import pytest
import torch
from torch import nn

from configs.schema import QueriesConfig, SelectiveCopyingConfig
from data.strings import Strings
from measures.recall import recall

COPYING = Strings(SelectiveCopyingConfig("mine", "selective_copying", 16, 32, [32, 64], 50, 4))


class Looker(nn.Module):
    """Says at the last four places what content it saw, each place right for every string but the first `fails`."""

    def __init__(self, strings, fails=0, sure=20.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.strings, self.fails, self.sure, self.seen = strings, fails, sure, 0

    def forward(self, x):
        A, M = self.strings.vocabulary_size, self.strings.config.content
        said = torch.zeros_like(x)
        for row, string in enumerate(x):
            content = string[: len(string) - M]
            said[row, -M:] = content[content > 0] if self.seen + row >= self.fails else A - 1
        self.seen += len(x)
        return self.sure * nn.functional.one_hot(said, A).float() + self.weight


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("length", [32, 64])
def test_what_is_right_counts(batch_size, length):
    result = recall(Looker(COPYING, fails=10), COPYING, length, 50, batch_size=batch_size)
    assert (result.context, result.strings, result.targets, result.accuracy) == (length, 50, 200, 0.8)
    right = -math.log(math.exp(20) / (math.exp(20) + 15))
    assert result.nats == pytest.approx(0.8 * right - 0.2 * math.log(1 / (math.exp(20) + 15)), abs=1e-5)


def test_a_model_that_knows_nothing_pays_the_logarithm_of_the_alphabet():
    queries = Strings(QueriesConfig("mine", "mqar", 64, 64, [], 20))
    told = []
    model = Looker(COPYING, sure=0.0)
    model.forward = lambda x: model.weight + torch.zeros(*x.shape, 64)
    result = recall(model, queries, 64, 20, batch_size=8, on_progress=lambda *at: told.append(at))
    assert result.nats == pytest.approx(math.log(64)) and result.targets == 160
    assert told == [(64, 160), (128, 160), (160, 160)]


def test_training_goes_on_as_it_was_and_other_splits_are_other_strings():
    model = Looker(COPYING).train()
    recall(model, COPYING, 32, 3)
    assert model.training
    seen = []
    model.forward = lambda x: (seen.append(x), Looker(COPYING)(x))[1]
    for split in ("validation", "test", "train"):
        recall(model, COPYING, 32, 3, split, seed=1)
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    assert torch.equal(seen[2], COPYING.made("train", 32, 0, 3, seed=1)[0])
