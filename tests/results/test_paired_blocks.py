"""Intervals over blocks and seeds: against known formulas, and how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from results.paired_blocks import UNKNOWN, Estimate, mean_loss, paired_difference


def test_blocks_of_one_size_give_students_interval_of_their_mean():
    means = np.random.default_rng(0).normal(2, 0.3, size=20)
    found = mean_loss(100 * means, np.full(20, 100))
    interval = stats.t.interval(0.95, 19, means.mean(), stats.sem(means))
    assert found.value == pytest.approx(means.mean(), rel=1e-12)
    assert (found.value - found.half_width, found.value + found.half_width) == pytest.approx(interval, rel=1e-9)


def test_bytes_weigh_alike_whatever_their_block():
    counts = np.array([1, 1, 1, 1, 1, 1, 1, 93])
    assert mean_loss(counts * np.array([5.0] * 7 + [1.0]), counts).value == pytest.approx((35 + 93) / 100)


def test_blocks_without_bytes_do_not_count_and_few_blocks_have_no_interval():
    sums, counts = np.arange(10.0), np.full(10, 2)
    padded = mean_loss(np.concatenate([sums, np.zeros(5)]), np.concatenate([counts, np.zeros(5, dtype=int)]))
    assert padded == mean_loss(sums, counts)
    few = mean_loss(sums[:7], counts[:7])
    assert few.value == pytest.approx(1.5) and math.isnan(few.half_width) and few.side == UNKNOWN
    assert math.isnan(mean_loss(np.zeros(3), np.zeros(3, dtype=int)).value)


def test_what_both_models_share_in_a_block_leaves_the_difference():
    generator = np.random.default_rng(1)
    counts = generator.integers(50, 150, size=30)
    base = counts * generator.normal(2, 1, size=30)  # blocks differ much, and both models alike
    found = paired_difference((base + 0.1 * counts)[None], base[None], counts)
    assert found.value == pytest.approx(0.1) and found.half_width < 1e-9 and found.side == "above"
    assert mean_loss(base, counts).half_width > 0.1


def test_with_seeds_the_interval_holds_text_and_seeds():
    generator = np.random.default_rng(2)
    counts, base = np.full(20, 100), np.zeros((3, 20))
    text = 100 * generator.normal(0, 1, size=20)  # the same in all seeds
    seeds = np.array([0.1, 0.2, 0.6])
    found = paired_difference(text + 100 * seeds[:, None], base, counts)
    over_text = stats.t.ppf(0.975, 19) * stats.sem(text / 100)
    over_seeds = stats.t.ppf(0.975, 2) * stats.sem(seeds)
    assert found.value == pytest.approx(text.mean() / 100 + 0.3)
    assert found.half_width == pytest.approx(math.hypot(over_text, over_seeds), rel=1e-9)


def test_about_95_of_100_intervals_hold_the_truth():
    """Blocks of unequal size with heavy tails, one seed or three that differ: no fewer than 92 %."""
    generator = np.random.default_rng(3)
    for seeds in (1, 3):
        held = 0
        for _ in range(400):
            counts = generator.integers(5, 50, size=50)
            text = generator.exponential(1, size=50) - 1  # mean 0
            own = generator.normal(0, 0.2, size=(seeds, 1)) * (seeds > 1)
            found = paired_difference(counts * (0.3 + text + own), np.zeros((seeds, 50)), counts)
            held += abs(found.value - 0.3) < found.half_width
        assert 0.92 <= held / 400 <= 1


def test_sides():
    assert [Estimate(v, 0.5).side for v in (-0.6, 0.6, 0.4)] == ["below", "above", "cannot be told"]
    assert Estimate(math.nan, math.nan).side == UNKNOWN
