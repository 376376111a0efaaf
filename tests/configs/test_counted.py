"""A number and its noun agree."""

import pytest

from configs.counted import counted


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "run"), "1 run"),
        ((0, "run"), "0 runs"),
        ((2000, "step"), "2,000 steps"),
        ((1, "process", "processes"), "1 process"),
        ((2, "process", "processes"), "2 processes"),
        (("1", "epoch"), "1 epoch"),
        (("1.02", "epoch"), "1.02 epochs"),
    ],
)
def test_one_is_singular(arguments: tuple[int | str, ...], text: str) -> None:
    assert counted(*arguments) == text
