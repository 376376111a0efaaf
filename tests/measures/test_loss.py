"""The loss of a split against a direct computation over all of it, window by window."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baseline import Transformer
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
    return np.random.default_rng(0).integers(0, 256, size=10 * CONTEXT + 5, dtype=np.uint8)


def direct(model, split):
    """(summed nats, bytes) of each window: the newline before the split, then each byte after the one before."""
    windows = []
    text = torch.from_numpy(np.concatenate([[10], split]).astype(np.int64))
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


def test_the_standard_error_is_that_of_the_mean_over_windows(model, split):
    whole = split[: 10 * CONTEXT]
    means = direct(model, whole)[:, 0] / CONTEXT / math.log(2)
    expected = means.std(ddof=1) / math.sqrt(len(means))
    assert evaluate(model, whole, CONTEXT).standard_error == pytest.approx(expected, rel=1e-5)


def test_the_standard_error_weighs_a_short_last_window_by_its_bytes(model, split):
    windows = direct(model, split)
    nats = windows[:, 0].sum() / windows[:, 1].sum()
    deviation = windows[:, 0] - nats * windows[:, 1]
    expected = math.sqrt(11 / 10 * (deviation**2).sum()) / len(split) / math.log(2)
    assert evaluate(model, split, CONTEXT).standard_error == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 11, 500])
def test_the_batch_size_does_not_change_the_result(model, split, batch_size):
    expected, result = evaluate(model, split, CONTEXT), evaluate(model, split, CONTEXT, batch_size=batch_size)
    assert result.nats == pytest.approx(expected.nats, abs=1e-6)
    assert result.standard_error == pytest.approx(expected.standard_error, rel=1e-4)
    assert (result.bytes, result.windows) == (expected.bytes, expected.windows)


def test_max_bytes_is_the_start_of_the_split(model, split):
    assert evaluate(model, split, CONTEXT, max_bytes=40) == evaluate(model, split[:40], CONTEXT)
    assert evaluate(model, split, CONTEXT, max_bytes=10**6) == evaluate(model, split, CONTEXT)


def test_a_single_window_has_no_standard_error(model, split):
    assert evaluate(model, split[:7], CONTEXT).standard_error == 0.0


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
    """Two ranks, one after the other: the sums of both, added as all_reduce would, give the result of one."""
    from measures import loss as module

    sums = []
    monkeypatch.setattr(module.dist, "all_reduce", lambda tensor: sums.append(tensor.clone()))
    for rank in range(2):
        evaluate(model, split, CONTEXT, rank=rank, world_size=2)
    together, expected = module._summary(sums[0] + sums[1]), evaluate(model, split, CONTEXT)
    assert (together.bytes, together.windows) == (expected.bytes, expected.windows)
    assert together.nats == pytest.approx(expected.nats, abs=1e-6)
