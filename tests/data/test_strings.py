"""Strings to recall are what their sources say, and the same whoever makes them."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import QueriesConfig, RepeatConfig, SelectiveCopyingConfig
from data.recall import RecallData
from data.strings import KINDS, Strings
from data.windows import IGNORE
from training.batches import Batches

CPU = SimpleNamespace(root_device=torch.device("cpu"))  # the strategy of a trainer

CONFIGS = {
    "repeat": RepeatConfig(name="repeat6", source="repeat", alphabet=6, context=64, lengths=[64, 128]),
    "mqar": QueriesConfig(name="mqar", source="mqar", alphabet=64, context=64, lengths=[64, 128]),
    "selective_copying": SelectiveCopyingConfig(
        name="selective_copying", source="selective_copying", alphabet=16, context=64, lengths=[64, 128]
    ),
}


@pytest.fixture(params=list(KINDS))
def strings(request):
    return Strings(CONFIGS[request.param])


def test_a_string_is_a_function_of_seed_split_length_and_number(strings):
    whole = strings.made("train", 64, 0, 12, seed=3)
    for part in (0, 1):
        pieces = [strings.made("train", 64, *ends, seed=3)[part] for ends in ((0, 5), (5, 6), (6, 12))]
        assert torch.equal(torch.cat(pieces), whole[part])
    others = [strings.made("train", 64, 0, 12, seed=4), strings.made("validation", 64, 0, 12)]
    others += [strings.made("test", 64, 0, 12), strings.made("train", 64, 12, 24, seed=3)]
    for other in others:
        assert not any(torch.equal(a, b) for a, b in itertools.product(whole[0], other[0]))
    # Every run is validated on the same strings.
    assert torch.equal(strings.made("validation", 64, 0, 4, seed=1)[0], strings.made("validation", 64, 0, 4, seed=2)[0])


def test_symbols_are_of_the_alphabet_and_as_many_scored_as_is_said(strings):
    for length in (64, 128):
        inputs, targets = strings.made("train", length, 0, 200)
        assert inputs.shape == targets.shape == (200, length)
        assert inputs.min() >= 0 and inputs.max() == strings.vocabulary_size - 1
        assert set((targets != IGNORE).sum(1).tolist()) == {strings.scored(length)}


def test_the_hash_says_what_is_made(strings):
    assert strings.sha256 == Strings(CONFIGS[strings.config.source]).sha256
    changed = type(strings.config)(**{**vars(strings.config), "alphabet": strings.vocabulary_size + 2})
    longer = type(strings.config)(**{**vars(strings.config), "lengths": [64, 96]})
    assert len({strings.sha256, Strings(changed).sha256, Strings(longer).sha256}) == 3


def test_they_are_the_same_on_every_machine_and_for_ever():
    """A change here is a change of what all runs were trained on."""
    starts = {kind: Strings(config).sha256[:12] for kind, config in CONFIGS.items()}
    assert starts == PINNED


PINNED = {"repeat": "a4bf57d6b331", "mqar": "ef599c5d109f", "selective_copying": "e9f1ba790092"}


@pytest.mark.parametrize("least", [0.5, 1.0])
def test_a_repeat_follows_from_what_stands_before_at_a_distance_that_differs(least):
    config = RepeatConfig(name="mine", source="repeat", alphabet=64, context=64, lengths=[], least_distance=least)
    inputs, targets = (part.numpy() for part in Strings(config).made("train", 64, 0, 400))
    distances = set()
    for x, y in zip(inputs, targets, strict=True):
        d = next(d for d in range(32, 0, -1) if np.array_equal(x[32:], x[32 - d : 64 - d]))
        distances.add(d)
        scored = np.flatnonzero(y != IGNORE)
        assert scored.tolist() == list(range(32 + 2 - 1, 63)), "the copy but its first two symbols"
        assert np.array_equal(y[scored], x[scored + 1]) and np.array_equal(y[scored], x[scored + 1 - d])
    assert distances == ({32} if least == 1 else set(range(16, 33)))


@pytest.mark.parametrize(("alphabet", "length", "unscored"), [(64, 128, 2), (6, 128, 4), (6, 64, 4), (64, 512, 3)])
def test_so_many_first_symbols_of_a_copy_are_not_scored_that_few_match_by_chance(alphabet, length, unscored):
    config = RepeatConfig(name="mine", source="repeat", alphabet=alphabet)
    assert config.unscored(length) == unscored
    assert length / 2 / alphabet**unscored <= 0.05 < length / 2 / alphabet ** (unscored - 1)
    assert Strings(config).scored(length) == length // 2 - unscored


def test_mqar_is_zoologys():
    """Pairs first, each key once more at an even distance, its value scored there and nowhere else."""
    inputs, targets = (part.numpy() for part in Strings(CONFIGS["mqar"]).made("train", 64, 0, 3000))
    gaps = []
    for x, y in zip(inputs, targets, strict=True):
        value_of = dict(zip(x[0:16:2].tolist(), x[1:16:2].tolist(), strict=True))
        assert len(value_of) == len(set(value_of.values())) == 8
        assert all(1 <= key < 32 for key in value_of) and all(32 <= value < 64 for value in value_of.values())
        places = np.flatnonzero(y != IGNORE)
        assert sorted(x[places].tolist()) == sorted(value_of), "each key is asked for once"
        assert [value_of[key] for key in x[places].tolist()] == y[places].tolist()
        assert all(place >= 16 and place % 2 == 0 for place in places)
        gaps += ((places - 16) // 2).tolist()
    counts = np.bincount(gaps, minlength=24) / 3000
    assert all(counts[:-1] > counts[1:] - 0.03) and counts[0] > 0.9 > 0.3 > counts[23], "a power law, most are near"
    # Of one query alone the places have the law itself: g^-0.99.
    one = QueriesConfig(name="mine", source="mqar", alphabet=64, context=64, lengths=[], pairs=1)
    _, targets = Strings(one).made("train", 64, 0, 6000)
    share = np.bincount(((targets != IGNORE).int().argmax(1).numpy() - 2) // 2, minlength=31) / 6000
    law = np.arange(1, 32) ** -0.99
    assert share == pytest.approx(law / law.sum(), abs=0.02)
    assert {KINDS["mqar"].scored(CONFIGS["mqar"], N) for N in (64, 128, 256)} == {8, 16, 32}, "in proportion"


def test_content_is_copied_in_its_order():
    inputs, targets = (part.numpy() for part in Strings(CONFIGS["selective_copying"]).made("train", 128, 0, 500))
    held = np.zeros(112)
    for x, y in zip(inputs, targets, strict=True):
        content = x[:112][x[:112] != 0]
        assert content.tolist() == y[112:].tolist() and len(content) == 16 and set(content) <= set(range(1, 15))
        assert (x[112:] == 15).all() and (y[:112] == IGNORE).all()
        held += x[:112] != 0
    assert held.min() > 0.05 * 500, "anywhere among the noise"


def test_each_rank_and_micro_batch_gets_its_part_from_any_step_on(strings):
    data = RecallData(strings, 64, 12, seed=1, windows_per_pass=6)
    loader, parts = Batches(data), []
    for rank in range(2):
        loader.trainer = SimpleNamespace(strategy=CPU, world_size=2, global_rank=rank, global_step=8)
        parts.append(list(itertools.islice(loader.train_dataloader(), 4)))
    for index, step in enumerate((8, 9)):
        whole = strings.made("train", 64, 12 * step, 12 * step + 12, seed=1)
        pieces = [parts[rank][2 * index + micro] for micro in range(2) for rank in range(2)]
        assert torch.equal(torch.cat([piece.inputs for piece in pieces]), whole[0])
        assert torch.equal(torch.cat([piece.targets for piece in pieces]), whole[1])
        assert {piece.n_targets for piece in pieces} == {int((whole[1] != IGNORE).sum())}
        assert {piece.n_tokens for piece in pieces} == {12 * 64}
    with pytest.raises(UserError, match="does not divide"):
        RecallData(strings, 64, 12, seed=1, windows_per_pass=5)


@pytest.mark.parametrize(
    ("config", "length", "words"),
    [
        (RepeatConfig(), 63, "has no half"),
        (RepeatConfig(alphabet=2), 8, "with 2 symbols none of 8 is told"),
        (QueriesConfig(), 63, "63 is odd"),
        (QueriesConfig(pairs=20, context=64), 64, "20 pairs with queries: 80 symbols"),
        (QueriesConfig(alphabet=16), 128, "8 pairs in 128 symbols: .* has 7; type data.alphabet=18"),
        (SelectiveCopyingConfig(alphabet=3), 64, "noise and marker leave 1"),
        (SelectiveCopyingConfig(content=40), 64, "type data.content=32 or less"),
    ],
)
def test_strings_that_cannot_be(config, length, words):
    assert re.search(words, config.impossible(length))
