"""The Lightning data module: which batches come, to which process, from which step on."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from configs.errors import UserError
from data.corpus import Corpus
from data.language import LanguageData
from data.windows import training_batch
from training.batches import Batches

CPU = SimpleNamespace(root_device=torch.device("cpu"))  # the strategy of a trainer

CONTEXT, BATCH = 16, 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    content = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8).tobytes()
    path = tmp_path_factory.mktemp("corpus") / "content.bin"
    path.write_bytes(content)
    return Corpus("toy", "0" * 64, path, {"train": (0, 800), "validation": (800, 900), "test": (900, 1000)}, {})


def test_batches_start_anywhere_run_on_over_epochs_and_go_to_each_rank_in_part(corpus):
    data = LanguageData(corpus, CONTEXT, BATCH, seed=1, windows_per_pass=6)
    loader, parts = Batches(data), []
    for rank in range(2):
        loader.trainer = SimpleNamespace(strategy=CPU, world_size=2, global_rank=rank, global_step=8)
        parts.append(list(itertools.islice(loader.train_dataloader(), 8)))
    assert data.steps_per_epoch == 5
    split = corpus.split("train")
    whole = [training_batch(split, CONTEXT, BATCH, 1, *at) for at in ((1, 3), (1, 4), (2, 0), (2, 1))]
    for i, batch in enumerate(whole):
        pieces = [parts[rank][2 * i + micro] for micro in range(2) for rank in range(2)]
        assert torch.equal(torch.cat([piece.targets for piece in pieces]), batch.targets)
        assert {piece.n_targets for piece in pieces} == {batch.n_targets}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"context": 101}, "data.context=101 is longer than the validation split (100 tokens); type data.context=100"),
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
    loader = Batches(LanguageData(corpus, CONTEXT, BATCH, seed=0, windows_per_pass=4))
    loader.trainer = SimpleNamespace(strategy=CPU, world_size=3, global_rank=0, global_step=0)
    with pytest.raises(UserError, match="4 windows in a pass cannot be divided over 3 devices"):
        loader.train_dataloader()
