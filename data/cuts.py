"""How a corpus is cut into train, validation and test. Every cut is a pure function of what is cut.

Our choice: a single file is cut into three runs of bytes, one of letters alone where words begin; a collection of
documents by the hash of their content, so that identical documents stay together; a library by whole packages, so that
modules that resemble each other do too.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from configs.errors import UserError

SPLITS = ("train", "validation", "test")
SPACE = 32  # as a byte


def checked_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """`data.split` as three positive numbers that sum to 1 (within 1e-6). UserError when it is anything else."""
    if (
        len(fractions) != 3
        or not all(isinstance(fraction, int | float) and fraction > 0 for fraction in fractions)
        or not math.isclose(sum(fractions), 1.0, rel_tol=0.0, abs_tol=1e-6)
    ):
        raise UserError(
            f"data.split={list(fractions)} is not a split: give three positive numbers that sum to 1 "
            "(train, validation, test), such as data.split=[0.9,0.05,0.05]"
        )
    train, validation, test = fractions
    return train, validation, test


def cut_run(n_bytes: int, fractions: tuple[float, float, float]) -> dict[str, int]:
    """Bytes of each split when one run of `n_bytes` is cut at the rounded fractions."""
    first, second = round(n_bytes * fractions[0]), round(n_bytes * (fractions[0] + fractions[1]))
    return {"train": first, "validation": second - first, "test": n_bytes - second}


def at_words(text: np.ndarray, splits: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The splits of a text, (n,) uint8, each moved to begin with the first word that begins in it, after a space.

    One in which no word begins stays where it is, within a word.
    """
    starts = []
    for start, stop in splits.values():
        after_space = text[max(start - 1, 0) : stop - 1] == SPACE
        starts.append(start + int(after_space.argmax()) if start else 0)
    return {name: (start, stop) for name, start, stop in zip(splits, starts, [*starts[1:], len(text)], strict=True)}


def split_of_document(content: bytes, fractions: tuple[float, float, float]) -> str:
    """The split a document belongs to, from the hash of its content alone."""
    return _split_at(_hash(content) / 2**64, fractions)


def split_of_units(sizes: dict[str, int], fractions: tuple[float, float, float]) -> dict[str, str]:
    """The split of each unit (what must not be cut: a package), given {name: bytes}: fractions of *bytes* as near as
    whole units allow.

    Units are laid end to end, first those above a tenth of the smallest split, so that they are for training and the
    other splits hold many units, then the others; both in the order of their names' hashes. A unit goes where its
    middle byte falls.
    """
    most = min(fractions) * sum(sizes.values()) / 10
    order = sorted(by_hash(sizes), key=lambda name: sizes[name] <= most)
    ends = list(accumulate(sizes[name] for name in order))
    total = max(ends[-1], 1) if ends else 1
    return {name: _split_at((end - sizes[name] / 2) / total, fractions) for name, end in zip(order, ends, strict=True)}


def by_hash(names: Iterable[str]) -> list[str]:
    """Names shuffled: in the order of their hashes, the same on every machine, in whatever order they came."""
    return sorted(names, key=lambda name: (_hash(name.encode()), name))


def _split_at(position: float, fractions: tuple[float, float, float]) -> str:
    """The split that holds a position in [0, 1)."""
    if position < fractions[0]:
        return "train"
    return "validation" if position < fractions[0] + fractions[1] else "test"


def _hash(content: bytes) -> int:
    """64 bits of SHA-256: the same on every machine and Python, unlike hash()."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
