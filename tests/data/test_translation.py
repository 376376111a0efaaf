"""Batches of parallel text: every pair once an epoch, within the budget, the same on any number of devices."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import ParallelConfig
from data.parallel import open_parallel
from data.translation import TranslationData
from data.translation_batches import LengthBuckets, encode_source, translation_batch
from data.windows import IGNORE
from training.batches import Batches

CPU = SimpleNamespace(root_device=torch.device("cpu"))  # the strategy of a trainer

CONTEXT, BUDGET = 64, 150
WORDS = ["drift", "phase", "läuft", "und", "locks"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """60 pairs of training of 1 to 20 words, numbered so that each is told from all others."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, n in (("train", 60), ("val", 9), ("test", 7)):
        for language, step in (("en", 7), ("de", 11)):
            lines = (" ".join([str(k), *(WORDS[i % 5] for i in range(k * step % 20))]) for k in range(n))
            (folder / f"{name}.{language}").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    cache = str(folder / "cache")
    own = {"vocabulary": 275, "context": CONTEXT, "cache_dir": cache}
    return open_parallel(ParallelConfig("toy", "multi30k", str(folder), **own))


@pytest.fixture
def data(corpus):
    return lambda **more: TranslationData(corpus, CONTEXT, **{"batch_tokens": BUDGET, "seed": 1, **more})


def read(corpus, batch):
    """(source, target) of each row that has a target, from the tokens that are real."""
    sentence = corpus.tokenizer.sentence
    return [
        (sentence(source[mask].tolist()), sentence(targets[targets != IGNORE].tolist()))
        for source, mask, targets in zip(batch.source, batch.source_mask, batch.targets, strict=True)
        if (targets != IGNORE).any()
    ]


def epoch_of(data, epoch=0):
    n = data.steps_per_epoch
    return [data.batch(step, 0, 1, 0) for step in range(epoch * n, (epoch + 1) * n)]


def test_every_pair_once_an_epoch_and_in_another_order_in_the_next(data, corpus):
    pairs = sorted(zip(corpus.source("train"), corpus.target("train"), strict=True))
    orders = []
    for epoch in range(3):
        orders.append([pair for batch in epoch_of(data(), epoch) for pair in read(corpus, batch)])
        assert sorted(orders[-1]) == pairs
    orders.append([pair for batch in epoch_of(data(seed=2)) for pair in read(corpus, batch)])
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    together = [{frozenset(read(corpus, batch)) for batch in epoch_of(data(), epoch)} for epoch in range(2)]
    assert together[0] != together[1], "pairs of equal lengths meet others in the next epoch"


def test_batches_are_within_the_budget_and_nearly_fill_it(data, corpus):
    batches = epoch_of(data())
    sizes = [len(batch.source) * max(batch.source.shape[1], batch.targets.shape[1]) for batch in batches]
    assert max(sizes) <= BUDGET and len(batches) == data().steps_per_epoch
    assert sum(batch.n_targets for batch in batches) == corpus.tokens_per_split()["train"]
    assert sum(batch.n_bytes for batch in batches) == corpus.bytes_per_split()["train"]
    lengths = corpus.pairs("train").lengths
    order = np.lexsort((lengths[:, 0], lengths[:, 1]))
    bounds = LengthBuckets(corpus.pairs("train"), BUDGET).bounds
    for first, stop in itertools.pairwise(bounds[:-1]):  # one more pair would not have fitted
        assert (stop + 1 - first) * lengths[order[first : stop + 1]].max() > BUDGET


def test_sentences_of_like_length_lie_together(data):
    padded, real = 0, 0
    for batch in epoch_of(data()):
        padded, real = padded + batch.targets.numel(), real + batch.n_targets
    assert real > 0.9 * padded


def test_a_pair_longer_than_the_budget_is_a_batch_of_its_own(data, corpus):
    pairs = corpus.pairs("train")
    longest = pairs.lengths.max(1)
    budget = int(longest.max()) - 1
    batches = epoch_of(data(batch_tokens=budget))
    alone = [batch for batch in batches if max(batch.source.shape[1], batch.targets.shape[1]) > budget]
    assert {len(batch.source) for batch in alone} == {1} and len(alone) == (longest > budget).sum()
    assert sum(len(batch.source) for batch in batches) == 60


@pytest.mark.parametrize("parts", [(1, 2), (1, 4), (2, 2), (3, 1)])
def test_the_parts_of_ranks_and_micro_batches_are_the_whole(parts, data, corpus):
    n_micro, world = parts
    whole, shared = data(), data(micro_batches=n_micro)
    assert shared.steps_per_epoch == whole.steps_per_epoch
    for step in range(whole.steps_per_epoch + 3):
        batch = whole.batch(step, 0, 1, 0)
        pieces = [shared.batch(step, rank, world, micro) for micro in range(n_micro) for rank in range(world)]
        assert sorted(pair for piece in pieces for pair in read(corpus, piece)) == sorted(read(corpus, batch))
        assert {(piece.n_targets, piece.n_bytes) for piece in pieces} == {(batch.n_targets, batch.n_bytes)}
        assert len({(piece.source.shape, piece.targets.shape) for piece in pieces}) == 1
        for piece in pieces:
            assert piece.source_mask[:, 0].all(), "attention to a source is defined in every row"
            empty = (piece.targets == IGNORE).all(1)
            assert (piece.source_mask[empty].sum(1) == 1).all()


def test_inputs_are_targets_one_token_earlier_and_padding_is_told_by_masks(data, corpus):
    for batch in epoch_of(data()):
        real = batch.targets != IGNORE
        assert (batch.inputs[:, 0] == corpus.tokenizer.eos).all()
        assert torch.equal(batch.inputs[:, 1:][real[:, 1:]], batch.targets[:, :-1][real[:, 1:]])
        assert (batch.inputs[:, 1:][~real[:, 1:]] == 0).all() and (batch.source[~batch.source_mask] == 0).all()
        for tokens, mask in ((batch.targets, real), (batch.source, batch.source_mask)):
            last = mask.sum(1) - 1
            assert (tokens.gather(1, last[:, None]) == corpus.tokenizer.eos).all()
            assert torch.equal(mask, torch.arange(mask.shape[1]) <= last[:, None])
        assert int(real.sum()) == batch.n_targets
        text = sum(len(target.encode()) + 1 for _, target in read(corpus, batch))
        assert batch.n_bytes == text
        assert {tensor.dtype for tensor in (batch.source, batch.inputs, batch.targets)} == {torch.int64}


def test_the_loader_goes_on_where_it_stopped(data):
    run = data(micro_batches=2)
    loader, again = Batches(run), Batches(data(micro_batches=2))
    loader.trainer = SimpleNamespace(
        strategy=CPU, world_size=3, global_rank=1, global_step=0
    )  # 3 devices divide nothing, and may
    whole = list(itertools.islice(loader.train_dataloader(), 2 * (run.steps_per_epoch + 2)))
    again.trainer = SimpleNamespace(
        strategy=CPU,
        world_size=3,
        global_rank=1,
        global_step=run.steps_per_epoch - 1,
    )
    for one, other in zip(whole[2 * (run.steps_per_epoch - 1) :], again.train_dataloader(), strict=False):
        assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True)) and one[4:] == other[4:]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_validation_has_every_pair_once_in_a_fixed_order(world, corpus):
    pairs = corpus.pairs("validation")
    buckets = LengthBuckets(pairs, 90)

    def piece_of(rank, world):
        return [translation_batch(pairs, buckets.rows_in_order(k)) for k in range(rank, len(buckets), world)]

    pieces = [piece_of(rank, world) for rank in range(world)]
    found = [pair for piece in pieces for batch in piece for pair in read(corpus, batch)]
    assert sorted(found) == sorted(zip(corpus.source("validation"), corpus.target("validation"), strict=True))
    batches = [batch for piece in pieces for batch in piece]
    assert sum(batch.n_targets for batch in batches) == corpus.tokens_per_split()["validation"]
    assert sum(batch.n_bytes for batch in batches) == corpus.bytes_per_split()["validation"]
    whole = piece_of(0, 1)
    assert len(whole) == len(batches) > 2
    for rank, piece in enumerate(pieces):
        for one, other in zip(piece, whole[rank::world], strict=True):
            assert torch.equal(one.source, other.source) and one.n_targets == other.n_targets


def test_sources_to_translate_keep_their_order_and_are_cut_at_the_context(corpus):
    sentences = ["phase locks", "drift", "", "drift " * 99]
    source, mask = encode_source(corpus.tokenizer, sentences, CONTEXT)
    assert source.shape == mask.shape == (4, CONTEXT)
    read_back = [corpus.tokenizer.sentence(row[real].tolist()) for row, real in zip(source, mask, strict=True)]
    assert read_back[:3] == sentences[:3] and sentences[3].startswith(read_back[3]) and len(read_back[3]) > 40
    assert mask[2].tolist() == [True] + [False] * (CONTEXT - 1) and source[3, -1] == corpus.tokenizer.eos
    pairs = corpus.pairs("test")
    batch = translation_batch(pairs, np.arange(len(pairs)))
    source, mask = encode_source(corpus.tokenizer, corpus.source("test"), CONTEXT)
    assert torch.equal(source, batch.source) and torch.equal(mask, batch.source_mask)
    for wrong, line in (([], "nothing to translate"), (["two\nlines"], "has more than one line")):
        with pytest.raises(UserError, match=line):
            encode_source(corpus.tokenizer, wrong, CONTEXT)


def test_what_a_run_keeps_of_its_data(data, corpus):
    assert (data().vocabulary_size, data().context) == (275, CONTEXT)
    assert data().tokenizer_file == corpus.tokenizer.content and data().parallel is corpus
    with pytest.raises(UserError, match="seed=-1 is negative"):
        data(seed=-1)
    with pytest.raises(ValueError, match="has no batch"):
        LengthBuckets(corpus.pairs("train"), BUDGET).rows(1, 0, data().steps_per_epoch)
