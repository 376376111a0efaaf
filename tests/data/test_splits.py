"""Cuts: fractions are checked, whole files and documents are placed the same way on every machine."""

import pytest

from configs.errors import UserError
from data.splits import SPLITS, checked_fractions, cut_run, split_of_document, split_of_files

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


def test_files_are_placed_whole_and_near_the_fractions_of_bytes():
    sizes = {f"package{i % 7}/module{i}.py": 100 + 37 * (i % 50) for i in range(2000)}
    placed = split_of_files(sizes, FRACTIONS)
    assert placed.keys() == sizes.keys()
    shares = [
        sum(size for path, size in sizes.items() if placed[path] == name) / sum(sizes.values()) for name in SPLITS
    ]
    assert shares == pytest.approx(FRACTIONS, abs=0.002)
    assert split_of_files(dict(reversed(sizes.items())), FRACTIONS) == placed  # the order they are listed in is nothing
    assert {placed[path] for path in sizes if path.startswith("package3/")} == set(SPLITS)


def test_documents_are_placed_by_their_content():
    placed = [split_of_document(b"document %d" % i, FRACTIONS) for i in range(4000)]
    assert [placed.count(name) / 4000 for name in SPLITS] == pytest.approx(FRACTIONS, abs=0.015)
    assert [split_of_document(text, FRACTIONS) for text in (b"document 0", b"document 4", b"document 36")] == list(
        SPLITS
    )
