"""Differences are paired by seed, and intervals are Student's."""

import math

import pytest

from results.statistics import half_interval, paired, spread


def test_the_interval_is_students_for_few_seeds():
    # By hand: mean 2, s = 1, t(0.975, 2 degrees of freedom) = 4.302653.
    assert half_interval([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert half_interval([1.0]) is None


def test_a_difference_takes_shared_seeds_alone():
    ours, theirs = {0: 1.0, 1: 2.0, 2: 3.0, 7: 99.0}, {0: 1.5, 1: 2.5, 2: 3.6, 8: -99.0}
    difference = paired(ours, theirs)
    assert difference.seeds == 3
    assert difference.mean == pytest.approx(-0.5333333)
    assert difference.verdict == "below"
    assert paired(theirs, ours).verdict == "above"
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("values", "verdict"),
    [({0: 1.0, 1: -1.0}, "not told apart"), ({0: 1.0}, "one seed"), ({0: 0.5, 1: 0.51, 2: 0.49}, "above")],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(values, verdict):
    assert paired(values, dict.fromkeys(values, 0.0)).verdict == verdict


def test_missing_seeds_are_told():
    assert spread({0: 1.0, 1: 2.0}, wanted=2) == "1.5000 ± 0.7071"
    assert spread({0: 1.0, 1: 2.0}, wanted=3) == "1.5000 ± 0.7071 (2 of 3 seeds)"
    assert spread({4: 1.0}, wanted=1) == "1.0000"
    assert spread({}, wanted=3) == "not run"
