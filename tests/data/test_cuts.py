"""Cuts: fractions are checked, whole files and documents are placed the same way on every machine."""

import pytest

from configs.errors import UserError
from data.cuts import SPLITS, by_hash, checked_fractions, cut_run, split_of_document, split_of_units

FRACTIONS = (0.9, 0.05, 0.05)


@pytest.mark.parametrize(
    "fractions",
    [
        [],
        [0.9, 0.1],
        [0.9, 0.05, 0.03, 0.02],
        [1.0, 0.0, 0.0],
        [1.1, -0.05, -0.05],
        [0.9, 0.05, 0.06],
        [0.9, 0.05, 0.050002],
        [float("nan")] * 3,
        [float("inf"), 0.1, 0.1],
        ["0.9", "0.05", "0.05"],
    ],
)
def test_a_split_must_be_three_positive_numbers_that_sum_to_one(fractions):
    with pytest.raises(UserError) as caught:
        checked_fractions(fractions)
    assert str(caught.value).startswith(f"data.split={fractions} is not a split: give three positive numbers")


def test_sums_that_are_one_but_for_rounding_are_fine():
    assert checked_fractions([1 / 3, 1 / 3, 0.333333]) == (1 / 3, 1 / 3, 0.333333)
    assert checked_fractions((0.7, 0.2, 0.1)) == (0.7, 0.2, 0.1)


def test_a_run_of_bytes_is_cut_exactly():
    assert cut_run(100_000_000, FRACTIONS) == {"train": 90_000_000, "validation": 5_000_000, "test": 5_000_000}
    assert cut_run(7, (0.5, 0.25, 0.25)) == {"train": 4, "validation": 1, "test": 2}


def shares(sizes, placed):
    return [
        sum(size for name, size in sizes.items() if placed[name] == split) / sum(sizes.values()) for split in SPLITS
    ]


def test_units_are_placed_whole_and_near_the_fractions_of_bytes():
    sizes = {f"package{i}": 100 + 37 * (i % 50) for i in range(2000)}
    placed = split_of_units(sizes, FRACTIONS)
    assert placed.keys() == sizes.keys()
    assert shares(sizes, placed) == pytest.approx(FRACTIONS, abs=0.002)
    assert split_of_units(dict(reversed(sizes.items())), FRACTIONS) == placed  # the order they are listed in is nothing


def test_no_large_unit_is_most_of_a_split_that_is_not_for_training():
    sizes = {f"small{i}": 10 for i in range(600)} | {f"large{i}": 90 for i in range(60)}  # a tenth of 5 % is 57
    placed = split_of_units(sizes, FRACTIONS)
    assert shares(sizes, placed) == pytest.approx(FRACTIONS, abs=0.002)
    assert {placed[name] for name in sizes if name.startswith("large")} == {"train"}
    assert {placed[name] for name in sizes if name.startswith("small")} == set(SPLITS)


def test_names_are_shuffled_the_same_way_however_they_came():
    names = [f"module{i}.py" for i in range(100)]
    shuffled = by_hash(names)
    assert shuffled == by_hash(reversed(names)) != names and sorted(shuffled) == sorted(names)
    assert by_hash(["a", "b", "c"]) == ["c", "b", "a"]  # their SHA-256: 2e..., 3e..., ca...


def test_documents_are_placed_by_their_content():
    placed = [split_of_document(b"document %d" % i, FRACTIONS) for i in range(4000)]
    assert [placed.count(name) / 4000 for name in SPLITS] == pytest.approx(FRACTIONS, abs=0.015)
    assert [split_of_document(text, FRACTIONS) for text in (b"document 0", b"document 4", b"document 36")] == list(
        SPLITS
    )
