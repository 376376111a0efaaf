"""Sentences of similar length as batches: pure functions of (seed, epoch, index), so any batch of any epoch can be made
again, on any number of devices.

Legend: P pairs of a split, M tokens of the longest source of a batch, N of the longest target, both with <eos>.

Our choices. Pairs are sorted by the length of the target, then of the source; those of equal lengths lie in an order
drawn from (seed, epoch). They are cut where one more pair would exceed the budget of `batch_tokens`: rows times the
larger of M and N. The sorted lengths are the same in every epoch, so the cuts are too, and all epochs have equally many
batches. Their order is drawn from (seed, epoch). A pair that is longer than the budget is a batch of its own.
The budget is that of the global batch: parts take its rows in turn, and are filled up with empty rows to one shape.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs.errors import UserError
from data.joint_tokenizer import JointTokenizer
from data.sentence_pairs import SentencePairs
from data.windows import IGNORE

EPOCH_STREAM = 0x70_61_69_72  # keeps these draws apart from any other that is seeded by (seed, epoch)


class TranslationBatch(NamedTuple):
    """Rows of one forward pass. An empty row has one real source token, so that attention to it is defined, and no
    target. Its counts are of the *global* batch, so a sum over its parts can be made a mean.
    """

    source: Tensor  # (rows, M) int64, ends with <eos>; 0 where there is nothing
    source_mask: Tensor  # (rows, M) bool, True for a real token
    inputs: Tensor  # (rows, N) int64, begins with <eos> (as fairseq has it), then the target but its last; 0 likewise
    targets: Tensor  # (rows, N) int64, ends with <eos>; IGNORE where there is nothing
    n_targets: int  # real targets in all micro batches on all ranks, <eos> counted
    n_bytes: int  # bytes of target text that these stand for, one for each <eos>, the end of a line


class LengthBuckets:
    """The batches of a split. `bounds` (batches + 1,): where the sorted pairs are cut."""

    def __init__(self, pairs: SentencePairs, batch_tokens: int) -> None:
        self.pairs = pairs
        self.batch_tokens = batch_tokens
        self._drawn: tuple[tuple[int, int], np.ndarray, np.ndarray] | None = None

    @cached_property
    def _sorted(self) -> np.ndarray:
        """Pairs (P,) by target, then source length, then number."""
        source, target = self.pairs.lengths.T
        return np.lexsort((source, target))

    @cached_property
    def bounds(self) -> np.ndarray:
        longest = self.pairs.lengths.max(1)[self._sorted]
        bounds = [0]
        while (first := bounds[-1]) < len(longest):
            most = max(1, self.batch_tokens // int(longest[first]))  # rows, were no later pair longer
            padded = np.maximum.accumulate(longest[first : first + most])
            rows = int((padded * np.arange(1, len(padded) + 1) <= self.batch_tokens).sum())
            bounds.append(first + max(1, rows))
        return np.array(bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def rows(self, seed: int, epoch: int, index: int) -> np.ndarray:
        """The pairs (rows,) of batch `index` of a training epoch. ValueError for an index outside it."""
        if not 0 <= index < len(self):
            raise ValueError(f"an epoch of {len(self)} batches has no batch {index}")
        if self._drawn is None or self._drawn[0] != (seed, epoch):
            self._drawn = ((seed, epoch), *self._draw(seed, epoch))
        _, pairs, order = self._drawn
        return pairs[self.bounds[order[index]] : self.bounds[order[index] + 1]]

    def rows_in_order(self, index: int) -> np.ndarray:
        """The pairs (rows,) of batch `index` without a draw, the shortest first."""
        return self._sorted[self.bounds[index] : self.bounds[index + 1]]

    def _draw(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The sorted pairs with ties in random order, and the order of batches.

        Only raw bits are taken from NumPy: these never change between its versions (NEP 19).
        """
        bits = np.random.PCG64(np.random.SeedSequence((seed, epoch, EPOCH_STREAM)))
        source, target = self.pairs.lengths.T
        pairs = np.lexsort((bits.random_raw(len(self.pairs)), source, target))
        return pairs, np.argsort(bits.random_raw(len(self)), kind="stable")


def translation_batch(pairs: SentencePairs, rows: np.ndarray, part: int = 0, parts: int = 1) -> TranslationBatch:
    """Every `parts`-th of `rows`, from number `part` on, filled up to as many as any other part has.

    Shapes and counts are of all rows.
    """
    M, N = (int(longest) for longest in pairs.lengths[rows].max(0))
    mine, n = rows[part::parts], -(-len(rows) // parts)
    source, inputs = np.zeros((n, M), np.int64), np.zeros((n, N), np.int64)
    targets = np.full((n, N), IGNORE, np.int64)
    source[: len(mine)] = pairs.padded(mine, 0, M, 0)
    source[len(mine) :, 0] = pairs.eos
    lengths = np.ones(n, np.int64)
    lengths[: len(mine)] = pairs.lengths[mine, 0]
    targets[: len(mine)] = pairs.padded(mine, 1, N, IGNORE)
    inputs[:, 0] = pairs.eos
    inputs[:, 1:] = np.where(targets[:, 1:] == IGNORE, 0, targets[:, :-1])
    return TranslationBatch(
        torch.from_numpy(source),
        torch.from_numpy(np.arange(M) < lengths[:, None]),
        torch.from_numpy(inputs),
        torch.from_numpy(targets),
        int(pairs.lengths[rows, 1].sum()),
        pairs.target_bytes(rows),
    )


def encode_source(tokenizer: JointTokenizer, sentences: Sequence[str], context: int) -> tuple[Tensor, Tensor]:
    """Sentences as (source, source_mask), (rows, M) each, in their order, as `TranslationBatch` has them.

    One of more than `context` tokens, <eos> counted, keeps the first ones. UserError for no sentence, and for one with
    a newline.
    """
    if not sentences:
        raise UserError("there is nothing to translate; give one sentence or more")
    if broken := [sentence for sentence in sentences if "\n" in sentence]:
        raise UserError(f"{broken[0][:40]!r} has more than one line; give one sentence a line")
    encoded = [[*tokens[: context - 1], tokenizer.eos] for tokens in tokenizer.encode_sentences(sentences)]
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    M = int(lengths.max())
    source = torch.tensor([tokens + [0] * (M - len(tokens)) for tokens in encoded])
    return source, torch.arange(M) < lengths[:, None]
