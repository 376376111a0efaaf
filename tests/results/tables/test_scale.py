"""A power law is recovered from points on it."""

import pytest

from results.tables.scale import power_law


def test_a_power_law_is_recovered():
    a, b = power_law([(P, 7.5 * P**-0.08) for P in (1e6, 2e6, 4e6)])
    assert (a, b) == (pytest.approx(7.5), pytest.approx(0.08))
    assert power_law([(1e6, 2.0), (1e6, 2.1), (2e6, 1.9), (2e6, 1.8)]) is None
