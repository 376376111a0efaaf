"""Intervals over seeds, blocks and both: against scipy and known formulas, and how often they hold the truth."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from measures.statistics import (
    BLOCKS,
    Estimate,
    block_of_window,
    difference_over_seeds,
    difference_over_text,
    half_width,
    mean_over_seeds,
    mean_over_text,
    shown_difference,
    shown_mean,
    standard_error,
)


@pytest.fixture(autouse=True)
def _quietly():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_mean_over_seeds_has_students_interval():
    # By hand: mean 2, s = 1, t(0.975, 2 degrees of freedom) = 4.302653.
    assert mean_over_seeds([1.0, 2.0, 3.0]) == Estimate(2.0, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))
    one, none = mean_over_seeds([1.5]), mean_over_seeds([])
    assert one.value == 1.5 and math.isnan(one.half_width) and math.isnan(none.value)
    assert mean_over_seeds([2.0, 2.0]) == Estimate(2.0, 0.0)


def test_a_difference_over_seeds_has_welchs_interval_over_all_seeds_of_both():
    ours, theirs = [1.0, 2.5, 3.0, 7.0], [1.5, 2.5, 3.6]
    difference = difference_over_seeds(ours, theirs)
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert difference.value == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert difference.value - difference.half_width == pytest.approx(interval.low, rel=1e-9)
    assert difference.value + difference.half_width == pytest.approx(interval.high, rel=1e-9)
    swapped = difference_over_seeds(theirs, ours)
    assert (swapped.value, swapped.half_width) == pytest.approx((-difference.value, difference.half_width))
    # With two seeds each of one variance: 2 degrees of freedom, half of 4.302653 * sqrt(2 * 0.5 / 2).
    two = difference_over_seeds([1.0, 2.0], [5.0, 6.0])
    assert (two.value, two.half_width) == (-4.0, pytest.approx(4.302653 * math.sqrt(0.5), rel=1e-6))


def test_seeds_that_are_equal_or_single_or_absent():
    assert difference_over_seeds([1.0, 1.0], [2.0, 2.0]) == Estimate(-1.0, 0.0)
    # One model without variance: the other's interval alone.
    half = mean_over_seeds([1.0, 2.0, 3.0]).half_width
    assert difference_over_seeds([0.0] * 5, [1.0, 2.0, 3.0]).half_width == pytest.approx(half)
    single = difference_over_seeds([1.0], [2.0, 3.0])
    assert single.value == -1.5 and single.side == "one seed"
    assert difference_over_seeds([], [1.0]) is None and difference_over_seeds([1.0], []) is None


def test_a_side_needs_the_whole_interval_and_says_what_lacks():
    assert [Estimate(v, 0.5).side for v in (-0.6, 0.6, 0.4, -0.5, 0.5)] == ["below", "above", *["not significant"] * 3]
    assert Estimate(0.1).side == "one seed"
    assert [Estimate(0.1, over=over).side for over in ("text", "text and seeds")] == ["no interval"] * 2


def test_what_is_shown():
    assert (Estimate(0.25, 0.125).shown("+"), Estimate(0.25).shown(digits=2)) == ("+0.2500 ± 0.1250", "0.25")
    assert Estimate(math.nan).shown() == ""
    seeds = {0: 1.0, 1: 2.0}  # t of one degree of freedom is 12.7062, times 0.5
    assert shown_mean(seeds, wanted=2) == "1.5000 ± 6.3531"
    assert shown_mean(seeds, wanted=3, digits=2) == "1.50 ± 6.35 (2 of 3 seeds)"
    assert (shown_mean({4: 1.0}, wanted=1), shown_mean({}, wanted=3)) == ("1.0000", "not run")
    far = {seed: value + 10 for seed, value in seeds.items()}
    assert shown_difference(seeds, far, wanted=2) == "-10.0000 ± 3.0424 below"
    assert shown_difference(seeds, far, wanted=3) == "-10.0000 ± 3.0424 below (2 and 2 of 3 seeds)"
    # Seeds need not be the same ones.
    assert shown_difference(seeds, {7: 1.5, 8: 2.5}, wanted=2).endswith("not significant")
    assert shown_difference(seeds, {}, wanted=2) == ""


def test_blocks_of_one_size_give_students_interval_of_their_mean():
    means = np.random.default_rng(0).normal(2, 0.3, size=20)
    estimate = mean_over_text(100 * means, np.full(20, 100))
    low, high = stats.t.interval(0.95, 19, means.mean(), stats.sem(means))
    assert estimate.value == pytest.approx(means.mean(), rel=1e-12) and estimate.over == "text"
    assert (estimate.value - estimate.half_width, estimate.value + estimate.half_width) == pytest.approx((low, high))
    assert standard_error(100 * means, np.full(20, 100)) == pytest.approx(stats.sem(means), rel=1e-9)


def test_a_standard_error_of_unequal_blocks_is_scipys_jackknife():
    generator = np.random.default_rng(4)
    counts = generator.integers(5, 50, size=30)
    sums = counts * generator.normal(2, 1, size=30)
    without = np.array([np.delete(sums, k).sum() / np.delete(counts, k).sum() for k in range(30)])
    assert standard_error(sums, counts) == pytest.approx(math.sqrt(29 * without.var()), rel=1e-9)


def test_half_of_an_interval_takes_students_t_of_its_blocks():
    assert half_width(0.01, 50) == pytest.approx(0.01 * stats.t.ppf(0.975, 49), rel=1e-9)
    assert math.isnan(half_width(0.01, 1)) and math.isnan(half_width(math.nan, 50))


def test_bytes_weigh_alike_whatever_their_block():
    counts = np.array([1, 1, 1, 1, 1, 1, 1, 93])
    assert mean_over_text(counts * np.array([5.0] * 7 + [1.0]), counts).value == pytest.approx((35 + 93) / 100)


def test_blocks_without_bytes_do_not_count_and_few_blocks_have_no_interval():
    sums, counts = np.arange(10.0), np.full(10, 2)
    padded = mean_over_text(np.concatenate([sums, np.zeros(5)]), np.concatenate([counts, np.zeros(5, dtype=int)]))
    assert padded == mean_over_text(sums, counts)
    assert not math.isnan(mean_over_text(sums[:8], counts[:8]).half_width)
    few = mean_over_text(sums[:7], counts[:7])
    assert few.value == pytest.approx(1.5) and math.isnan(few.half_width) and few.side == "no interval"
    assert math.isnan(mean_over_text(np.zeros(3), np.zeros(3, dtype=int)).value)


def test_blocks_are_contiguous_and_as_long_as_each_other():
    block = block_of_window(1234)
    assert (np.diff(block) >= 0).all() and set(block) == set(range(BLOCKS))
    assert np.ptp(np.bincount(block)) == 1
    assert block_of_window(3).tolist() == [0, 1, 2] and block_of_window(0).size == 0


def test_what_both_models_share_in_a_block_leaves_the_difference():
    generator = np.random.default_rng(1)
    counts = generator.integers(50, 150, size=30)
    base = counts * generator.normal(2, 1, size=30)  # blocks differ much, and both models alike
    difference = difference_over_text((base + 0.1 * counts)[None], base[None], counts)
    assert difference.value == pytest.approx(0.1) and difference.half_width < 1e-9 and difference.side == "above"
    assert difference.over == "text" and mean_over_text(base, counts).half_width > 0.1


def test_with_seeds_of_both_the_interval_holds_text_and_seeds():
    generator = np.random.default_rng(2)
    counts, theirs = np.full(20, 100), 100 * np.array([[0.0], [0.3]]) * np.ones(20)
    text = 100 * generator.normal(0, 1, size=20)  # the same in all seeds
    seeds = np.array([0.1, 0.2, 0.6])
    difference = difference_over_text(text + 100 * seeds[:, None], theirs, counts)
    over_text = stats.t.ppf(0.975, 19) * stats.sem(text / 100)
    welch = stats.ttest_ind(seeds, [0.0, 0.3], equal_var=False).confidence_interval(0.95)
    assert difference.value == pytest.approx(text.mean() / 100 + 0.3 - 0.15)
    assert difference.half_width == pytest.approx(math.hypot(over_text, (welch.high - welch.low) / 2), rel=1e-9)
    assert difference.over == "text and seeds"
    one = difference_over_text(text + 100 * seeds[:1, None], theirs, counts)
    assert (one.half_width, one.over) == (pytest.approx(over_text), "text")
    assert math.isnan(difference_over_text(np.zeros((2, 9)), np.zeros((2, 9)), np.zeros(9, dtype=int)).value)


def test_about_95_of_100_intervals_over_seeds_hold_the_truth():
    """Seeds of two models whose spreads differ: no fewer than 92 %, no more than 98 %."""
    generator = np.random.default_rng(5)
    for n, m in ((3, 3), (5, 3)):
        ours, theirs = generator.normal(0.3, 0.1, size=(600, n)), generator.normal(0, 0.05, size=(600, m))
        differences = [difference_over_seeds(list(a), list(b)) for a, b in zip(ours, theirs, strict=True)]
        assert 0.92 <= np.mean([abs(d.value - 0.3) < d.half_width for d in differences]) <= 0.98
        means = [mean_over_seeds(list(a)) for a in ours]
        assert 0.92 <= np.mean([abs(each.value - 0.3) < each.half_width for each in means]) <= 0.98


def test_about_95_of_100_intervals_over_text_hold_the_truth():
    """Blocks of unequal size with heavy tails, one seed or three that differ: no fewer than 92 %."""
    generator = np.random.default_rng(3)
    for seeds, least in ((1, 0.92), (3, 0.94)):
        held = 0
        for _ in range(400):
            counts = generator.integers(5, 50, size=50)
            text = generator.exponential(1, size=50) - 1  # mean 0
            own = generator.normal(0, 0.2, size=(seeds, 1)) * (seeds > 1)
            difference = difference_over_text(counts * (0.3 + text + own), np.zeros((seeds, 50)), counts)
            held += abs(difference.value - 0.3) < difference.half_width
        assert least <= held / 400 <= 1
