"""Loss by copy depth: it takes apart what task=loss adds up, byte by byte."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baseline import Transformer
from data.split import Split
from measures.copy_depth import CLASSES, DEPTHS, DISTANCES, by_copy_depth, labels
from measures.longest_match import copy_depth
from measures.loss import evaluate

CONTEXT = 40


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Transformer(d_model=32, n_layers=2, n_heads=2)
    for parameter in model.parameters():
        parameter.data *= 3
    return model


@pytest.fixture(scope="module")
def split():
    """Words from a small set, so that depths and distances of all sizes occur, and a last window that is short."""
    words = [b"synchrony ", b"of ", b"coupled ", b"oscillators, ", b"aaaaaaaaaaaaaaaaaaaaaaaa ", b"phase\n"]
    chosen = np.random.default_rng(0).choice(words, size=600)
    return Split(np.frombuffer(b"".join(chosen), dtype=np.uint8)[: 60 * CONTEXT + 7])


@pytest.fixture(scope="module")
def result(model, split):
    return by_copy_depth(model, split, CONTEXT, batch_size=7)


def index(starts, value):
    return max(k for k, start in enumerate(starts) if start <= value)


def test_every_byte_is_in_its_bin(model, split, result):
    """Byte by byte, from the text: a window's context is the newline or the byte before it, and its own bytes."""
    n_windows = 61
    counts, nats = np.zeros((50, len(DEPTHS))), np.zeros((50, len(DEPTHS)))
    by_distance = np.zeros((50, len(CLASSES) - 1, len(DISTANCES)))
    text = np.concatenate([[10], split.tokens]).astype(np.int64)
    for window in range(n_windows):
        seen = text[:-1][window * CONTEXT : (window + 1) * CONTEXT]
        wanted = torch.from_numpy(text[1:][window * CONTEXT : (window + 1) * CONTEXT])
        with torch.no_grad():
            losses = F.cross_entropy(model(torch.from_numpy(seen)[None])[0], wanted, reduction="none")
        depth, distance = copy_depth(seen)
        block = window * 50 // n_windows
        for t in range(len(seen)):
            counts[block, index(DEPTHS, depth[t])] += 1
            nats[block, index(DEPTHS, depth[t])] += losses[t].item()
            if depth[t]:
                by_distance[block, index(CLASSES, depth[t]) - 1, index(DISTANCES, distance[t])] += 1
    assert (result.counts == counts).all()
    np.testing.assert_allclose(result.nats, nats, rtol=1e-5)
    assert (result.distance_counts == by_distance).all()
    assert (counts.sum(0) > 0).all(), "the text must reach every depth for this to be a test"
    assert (by_distance.sum((0, 1))[:6] > 0).all()


@pytest.mark.parametrize("max_bytes", [None, 1000, 33, 1])
def test_bins_add_up_to_the_loss_of_the_split(model, split, max_bytes):
    whole = evaluate(model, split, CONTEXT, batch_size=7, max_bytes=max_bytes)
    parts = by_copy_depth(model, split, CONTEXT, batch_size=7, max_bytes=max_bytes)
    assert parts.bytes == whole.bytes
    assert parts.nats.sum() == pytest.approx(whole.nats * whole.bytes, rel=1e-9)
    assert len(parts.counts) == min(50, whole.windows)
    assert parts.entry()["bytes"] == whole.bytes


def test_bins_hold_bytes_of_text_where_tokens_are_longer(model, split):
    token_bytes = np.arange(256) % 3 + 1
    longer = Split(split.tokens, token_bytes=token_bytes)
    whole, parts = evaluate(model, longer, CONTEXT), by_copy_depth(model, longer, CONTEXT)
    assert parts.bytes == whole.bytes == int(token_bytes[split.tokens].sum())
    assert parts.nats.sum() == pytest.approx(by_copy_depth(model, split, CONTEXT).nats.sum(), rel=1e-9)
    assert parts.nats.sum() / parts.bytes / np.log(2) == pytest.approx(whole.bits_per_byte, rel=1e-9)


def test_distances_take_apart_the_classes_of_depths(result):
    for k, (start, end) in enumerate([(1, 4), (4, 8), (8, 16), (16, 17)]):
        assert (result.distance_counts[:, k].sum(1) == result.counts[:, start:end].sum(1)).all()
        np.testing.assert_allclose(result.distance_nats[:, k].sum(1), result.nats[:, start:end].sum(1), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 500])
def test_the_batch_size_does_not_change_the_result(model, split, result, batch_size):
    other = by_copy_depth(model, split, CONTEXT, batch_size=batch_size)
    assert (other.counts == result.counts).all()
    assert (other.distance_counts == result.distance_counts).all()
    np.testing.assert_allclose(other.nats, result.nats, rtol=1e-5)


def test_the_entry_is_plain_and_near_the_sums(result):
    entry = json.loads(json.dumps(result.entry()))
    assert entry["depths"] == [*map(str, range(16)), "16+"]
    assert entry["distances"] == ["1-2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "257+"]
    assert entry["by_distance"]["depths"] == ["1-3", "4-7", "8-15", "16+"]
    np.testing.assert_allclose(entry["nats"], result.nats, atol=6e-5)
    assert np.shape(entry["counts"]) == (50, 17) and np.shape(entry["by_distance"]["nats"]) == (50, 4, 9)
    assert labels((0, 2, 3)) == ["0-1", "2", "3+"]


def test_progress_is_told(model, split):
    seen = []
    by_copy_depth(model, split, CONTEXT, 2, max_bytes=100, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(80, 100), (100, 100)]
