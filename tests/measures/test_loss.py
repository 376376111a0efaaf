"""The loss of a split against a direct computation over all of it, window by window."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baseline import Transformer
from data.split import Split
from measures.loss import evaluate

CONTEXT = 16


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Transformer(d_model=32, n_layers=2, n_heads=2)
    for parameter in model.parameters():
        parameter.data *= 3  # far from uniform, so that windows differ
    return model


@pytest.fixture(scope="module")
def split():
    return Split(np.random.default_rng(0).integers(0, 256, size=10 * CONTEXT + 5, dtype=np.uint8))


def direct(model, split):
    """(summed nats, bytes) of each window: the newline before the split, then each byte after the one before."""
    windows = []
    text = torch.from_numpy(np.concatenate([[10], split.tokens]).astype(np.int64))
    with torch.no_grad():
        for start in range(0, len(split), CONTEXT):
            stop = min(start + CONTEXT, len(split))
            logits = model(text[None, start:stop])[0].double()
            windows.append((F.cross_entropy(logits, text[start + 1 : stop + 1], reduction="sum").item(), stop - start))
    return np.array(windows)


def test_every_byte_counts_once(model, split):
    windows = direct(model, split)
    result = evaluate(model, split, CONTEXT, batch_size=4)
    assert (result.bytes, result.windows) == (len(split), 11)
    assert result.nats == pytest.approx(windows[:, 0].sum() / len(split), rel=1e-6)
    assert result.bits_per_byte == pytest.approx(result.nats / math.log(2), rel=1e-12)


def test_the_standard_error_is_a_jackknife_over_contiguous_blocks(model, split):
    """Eleven windows are eleven blocks; the last one has 5 targets."""
    sums, counts = direct(model, split).T / [[math.log(2)], [1]]
    without = (sums.sum() - sums) / (counts.sum() - counts)
    expected = math.sqrt(10 / 11 * ((without - without.mean()) ** 2).sum())
    result = evaluate(model, split, CONTEXT)
    assert (result.blocks, result.standard_error) == (11, pytest.approx(expected, rel=1e-5))


def test_neighbouring_windows_are_one_block(model):
    """103 windows in 50 blocks of two or three: the error is that of the blocks' sums, not of single windows."""
    long = Split(np.random.default_rng(1).integers(0, 256, size=103 * CONTEXT, dtype=np.uint8))
    sums = direct(model, long)[:, 0] / math.log(2)
    block = np.arange(103) * 50 // 103
    by_block, counts = np.bincount(block, sums), CONTEXT * np.bincount(block)
    without = (by_block.sum() - by_block) / (counts.sum() - counts)
    result = evaluate(model, long, CONTEXT, batch_size=8)
    assert result.blocks == 50
    assert result.standard_error == pytest.approx(
        math.sqrt(49 / 50 * ((without - without.mean()) ** 2).sum()), rel=1e-5
    )


def test_sliding_windows_score_each_target_with_more_before_it(model, split):
    """Directly: each target from a forward pass over the tokens that its window holds."""
    text = torch.from_numpy(np.concatenate([[10], split.tokens]).astype(np.int64))
    n, stride, total = len(split), 4, 0.0
    for target in range(n):
        window = 0 if target < CONTEXT else -(-(target + 1 - CONTEXT) // stride)
        start = window * stride
        with torch.no_grad():
            logits = model(text[None, start : target + 1])[0, -1].double()
        total += F.cross_entropy(logits[None], text[None, target + 1]).item()
    result = evaluate(model, split, CONTEXT, stride=stride)
    assert (result.targets, result.bytes) == (n, n)
    assert result.nats == pytest.approx(total / n, rel=1e-6)
    assert evaluate(model, split, CONTEXT, stride=CONTEXT) == evaluate(model, split, CONTEXT)


def test_few_logits_at_once_give_the_same(model, split, monkeypatch):
    """A bound of one row of logits, then of less than a window, then of less than a batch."""
    expected = evaluate(model, split, CONTEXT)
    for bound in (256, 5 * 256, 3 * CONTEXT * 256):
        seen = []
        watch = model.logits
        monkeypatch.setattr("synchrony_blocks.cross_entropy.MOST_LOGITS", bound)
        monkeypatch.setattr(model, "logits", lambda x, watch=watch, seen=seen: seen.append(watch(x)) or seen[-1])
        assert evaluate(model, split, CONTEXT).nats == pytest.approx(expected.nats, rel=1e-6)
        assert max(logits.numel() for logits in seen) <= bound


def test_bits_per_byte_come_from_the_bytes_behind_the_targets(model, split):
    """Even tokens stand for three bytes, odd ones for one."""
    token_bytes = np.where(np.arange(256) % 2, 1, 3)
    result = evaluate(model, Split(split.tokens, token_bytes=token_bytes), CONTEXT)
    n_bytes = int(token_bytes[split.tokens].sum())
    plain = evaluate(model, split, CONTEXT)
    assert (result.bytes, result.targets, result.nats) == (n_bytes, len(split), plain.nats)
    assert result.bits_per_byte == pytest.approx(plain.bits_per_byte * len(split) / n_bytes, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, 11, 500])
def test_the_batch_size_does_not_change_the_result(model, split, batch_size):
    expected, result = evaluate(model, split, CONTEXT), evaluate(model, split, CONTEXT, batch_size=batch_size)
    assert result.nats == pytest.approx(expected.nats, abs=1e-6)
    assert result.standard_error == pytest.approx(expected.standard_error, rel=1e-4)
    assert (result.bytes, result.windows) == (expected.bytes, expected.windows)


def test_max_bytes_is_the_start_of_the_split(model, split):
    assert evaluate(model, split, CONTEXT, max_bytes=40) == evaluate(model, split[:40], CONTEXT)
    assert evaluate(model, split, CONTEXT, max_bytes=10**6) == evaluate(model, split, CONTEXT)


def test_few_windows_have_no_standard_error(model, split):
    assert evaluate(model, split[:7], CONTEXT).standard_error is None
    assert evaluate(model, split[: 7 * CONTEXT], CONTEXT).standard_error is None


def test_training_goes_on_as_it_was(model, split):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model.train()
    evaluate(model, split, CONTEXT)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    model(torch.zeros(1, CONTEXT, dtype=torch.int64)).sum().backward()  # tables kept from evaluation are no obstacle
    model.zero_grad()
    model.eval()
    evaluate(model, split, CONTEXT)
    assert not model.training


def test_a_failure_leaves_the_model_in_training_mode(model, split):
    def stop(done, total):
        raise KeyboardInterrupt

    model.train()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, split, CONTEXT, on_progress=stop)
    assert model.training


def test_progress_ends_at_the_whole(model, split):
    seen = []
    evaluate(model, split, CONTEXT, batch_size=4, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 165), (128, 165), (165, 165)]


def test_bf16_is_near_and_not_the_same(model, split):
    expected, result = evaluate(model, split, CONTEXT), evaluate(model, split, CONTEXT, precision="bf16")
    assert result.nats != expected.nats
    assert result.nats == pytest.approx(expected.nats, rel=0.05)
    assert next(model.parameters()).dtype == torch.float32


def test_ranks_together_see_the_whole_split(model, split, monkeypatch):
    """Two ranks, one after the other: the second adds the first one's sums, as all_reduce would."""
    from measures import loss as module

    sums = []

    def all_reduce(tensor):
        sums.append(tensor.clone())
        tensor += sum(sums[:-1])

    monkeypatch.setattr(module.dist, "all_reduce", all_reduce)
    results = [evaluate(model, split, CONTEXT, rank=rank, world_size=2) for rank in range(2)]
    expected = evaluate(model, split, CONTEXT)
    assert (results[1].bytes, results[1].windows) == (expected.bytes, expected.windows)
    assert results[1].nats == pytest.approx(expected.nats, abs=1e-6)
    assert results[1].standard_error == pytest.approx(expected.standard_error, rel=1e-5)
