"""Strings of symbols to recall: what came earlier in a string has to be predicted again.

Each is a pure function of seed, split, length and its number in the split, so that any can be made again, on any
number of devices.

Legend: n strings of a batch, N symbols a string holds, A symbols of the alphabet (0 .. A - 1), K pairs, M content
symbols, r (n, ..) draws: 64 raw bits each.

Three kinds, `data.source`:

repeat (our choice). A string of L = N / 2 symbols, each drawn from all A, and then its last d symbols again and again,
up to L of them: x_t = x_(t - d). The distance d is drawn from least_distance L .. L. Were it L in all strings, a head
that looks L places back would do, whatever symbol is there. The second half is scored, except its first symbols,
which nothing determines (`RepeatConfig.unscored`).

mqar. Multi-query associative recall (Arora, Eyuboglu et al. 2023, arXiv 2312.04927), as in their `multiquery_ar` of
HazyResearch/zoology: K pairs of a key, one of 1 .. A/2 - 1, and a value, one of A/2 .. A - 1, no key and no value
twice; then each key once more as a query, at an even distance after the pairs. These places are drawn without
replacement, the g-th (from 1) with a weight of g^(power - 1). Every other place holds any symbol.
The value at each query is scored, and nothing else. Longer strings have more pairs, as in their Figure 2.

selective_copying. Selective copying (Gu and Dao 2023, arXiv 2312.00752, after Jing et al. 2019, arXiv 1706.02761): M
content symbols, each drawn from 1 .. A - 2, at random places of N - M, noise (0) at the others; then M markers (A - 1),
at each of which the next content symbol is to be said. Scored are the markers. Longer strings have more noise, not more
content (our choice).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from configs.schema import QueriesConfig, RepeatConfig, SelectiveCopyingConfig, StringsConfig
from data.split import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "validation", "test")
STREAM = 0x72_65_63_61  # keeps these draws apart from any other that is seeded alike
HASHED = 64  # strings of each split and length behind the hash

Made = tuple[np.ndarray, np.ndarray]  # inputs and targets (n, N) int64; IGNORE where nothing is scored


def repeat(r: np.ndarray, config: RepeatConfig, N: int) -> Made:
    L = N // 2
    least = min(L, math.ceil(config.least_distance * L))
    d = least + (r[:, :1] % np.uint64(L - least + 1)).astype(np.int64)  # (n, 1)
    once = (r[:, 1:] % np.uint64(config.alphabet)).astype(np.int64)  # (n, L)
    inputs = np.concatenate([once, np.take_along_axis(once, L - d + np.arange(L) % d, 1)], 1)
    targets = np.full_like(inputs, IGNORE)
    first = L + config.unscored(N)  # scored symbol
    targets[:, first - 1 : -1] = inputs[:, first:]
    return inputs, targets


def mqar(r: np.ndarray, config: QueriesConfig, N: int) -> Made:
    A, K = config.alphabet, config.pairs_of(N)
    n_keys, n_values, places = A // 2 - 1, A - A // 2, (N - 2 * K) // 2
    of_keys, of_values, of_places, filling = np.split(r, np.cumsum([n_keys, n_values, places]), 1)
    keys, values = 1 + _chosen(of_keys, K), A // 2 + _chosen(of_values, K)  # (n, K)
    # The places whose exponential clocks, of these rates, ring first: successive draws without replacement.
    uniform = ((of_places >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    clocks = -np.log(uniform) / np.arange(1, places + 1) ** (config.power - 1)
    at = 2 * K + 2 * np.argsort(clocks, 1, kind="stable")[:, :K]
    inputs = (filling % np.uint64(A)).astype(np.int64)
    inputs[:, 0 : 2 * K : 2], inputs[:, 1 : 2 * K : 2] = keys, values
    np.put_along_axis(inputs, at, keys, 1)
    targets = np.full_like(inputs, IGNORE)
    np.put_along_axis(targets, at, values, 1)
    return inputs, targets


def selective_copying(r: np.ndarray, config: SelectiveCopyingConfig, N: int) -> Made:
    A, M = config.alphabet, config.content
    of_content, of_places = np.split(r, [M], 1)
    content = 1 + (of_content % np.uint64(A - 2)).astype(np.int64)  # (n, M)
    inputs = np.zeros((len(r), N), np.int64)
    inputs[:, N - M :] = A - 1
    np.put_along_axis(inputs, np.sort(_chosen(of_places, M), 1), content, 1)
    targets = np.full_like(inputs, IGNORE)
    targets[:, N - M :] = content
    return inputs, targets


def _chosen(r: np.ndarray, many: int) -> np.ndarray:
    """So many of the columns, without replacement, in random order: (n, many)."""
    return np.argsort(r, 1, kind="stable")[:, :many]


@dataclass(frozen=True)
class Kind:
    """How strings of a kind are made. `draws`, `scored`: of a string of N symbols."""

    make: Callable[..., Made]
    draws: Callable[..., int]
    scored: Callable[..., int]


KINDS: dict[str, Kind] = {
    "repeat": Kind(repeat, lambda config, N: 1 + N // 2, lambda config, N: N // 2 - config.unscored(N)),
    "mqar": Kind(
        mqar,
        lambda config, N: config.alphabet - 1 + (N - 2 * config.pairs_of(N)) // 2 + N,
        lambda config, N: config.pairs_of(N),
    ),
    "selective_copying": Kind(selective_copying, lambda config, N: N, lambda config, N: config.content),
}


@dataclass(frozen=True)
class Strings:
    """All strings of a config. Those of training follow from the run's seed; validation and test are alike for all."""

    config: StringsConfig

    @property
    def vocabulary_size(self) -> int:
        return self.config.alphabet

    def scored(self, length: int) -> int:
        """Targets in a string of so many symbols."""
        return KINDS[self.config.source].scored(self.config, length)

    def made(self, split: str, length: int, first: int, stop: int, seed: int = 0) -> "tuple[Tensor, Tensor]":
        """Inputs and targets (stop - first, length) of strings `first` .. `stop` - 1 of a split.

        `seed`: of training; the other splits have none.
        """
        import torch  # here, because what names the strings needs none

        inputs, targets = self._made(split, length, first, stop, seed)
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def _made(self, split: str, length: int, first: int, stop: int, seed: int = 0) -> Made:
        kind = KINDS[self.config.source]
        seed = seed if split == "train" else 0
        # Only raw bits: NumPy never changes these between its versions, as it may the methods of a Generator (NEP 19).
        r = np.stack(
            [
                np.random.PCG64(np.random.SeedSequence((seed, SPLITS.index(split), length, number, STREAM))).random_raw(
                    kind.draws(self.config, length)
                )
                for number in range(first, stop)
            ]
        )
        return kind.make(r, self.config, length)

    @cached_property
    def sha256(self) -> str:
        """Of the first strings of every split and length: changes where what is trained or validated on does."""
        digest = hashlib.sha256()
        for length in sorted({self.config.context, *self.config.lengths}):
            for split in SPLITS:
                for part in self._made(split, length, 0, HASHED):
                    digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def source(self) -> dict[str, object]:
        """What the record tells of them, as plain JSON."""
        return {**asdict(self.config), "scored": self.scored(self.config.context)}
