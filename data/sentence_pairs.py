"""Sentences and their translations as tokens: which pairs are kept, and where they lie in one flat array.

In the cache a split is one run of tokens: a source sentence, <eos>, its translation, <eos>, the next source sentence,
and so on. No text has the token <eos>, so it alone says where sentences end.

Our choices. Of the training split are left out, in this order of reasons: pairs with an empty side; with a sentence of
more than `data.context` tokens, <eos> counted, unless `data.too_long` is truncate; with one sentence more than
`data.max_ratio` times as long as the other, in tokens without <eos>. From other splits no pair is left out. A sentence
that is cut keeps its first tokens, and <eos>.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from configs.counted import counted
from configs.errors import UserError
from configs.schema import ParallelConfig
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import SPLITS
from data.joint_tokenizer import JointTokenizer, sentences_of
from data.split import Split

FORMAT = 1  # of the recipe: to be counted up with every change of what is kept
BLOCK = 4096  # pairs that are tokenized at a time


@dataclass(frozen=True, eq=False)
class SentencePairs:
    """The pairs of a split. Lengths are in tokens, <eos> counted."""

    split: Split
    eos: int
    token_bytes: np.ndarray = field(repr=False)  # (V,) bytes of text that each token stands for

    @property
    def tokens(self) -> np.ndarray:
        """(n,). UserError when their file was cut or changed."""
        self.split.require_whole()
        return self.split.tokens

    @cached_property
    def starts(self) -> np.ndarray:
        """(P, 2) first tokens of source and target, int64."""
        return np.concatenate([[0], self._ends[:-1]]).reshape(-1, 2)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(P, 2) tokens of source and target, int64."""
        return self._ends.reshape(-1, 2) - self.starts

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.flatnonzero(self.tokens == self.eos) + 1

    def __len__(self) -> int:
        return len(self.starts)

    def padded(self, pairs: np.ndarray, side: int, width: int, filling: int) -> np.ndarray:
        """Sentences of `pairs` (rows,), source (side 0) or target (1): (rows, width) int64, `filling` after <eos>."""
        start, length = self.starts[pairs, side][:, None], self.lengths[pairs, side][:, None]
        place = np.arange(width)
        real = place < length
        # Any legal place where nothing is real.
        return np.where(real, self.tokens[np.where(real, start + place, 0)].astype(np.int64), filling)

    def target_bytes(self, pairs: np.ndarray) -> int:
        """Bytes of text that the targets of `pairs` stand for, one for each end of a line."""
        start, stop = self.starts[pairs, 1], self.starts[pairs, 1] + self.lengths[pairs, 1]
        tokens = self.tokens
        return int(sum(self.token_bytes[tokens[one:other]].sum() for one, other in zip(start, stop, strict=True)))


def tokenized_pairs(config: ParallelConfig, text: Corpus, tokenizer: JointTokenizer) -> Corpus:
    """The pairs of a text of lines (source, target, source, ...) as tokens, from the cache or made. Its `source` tells
    what was left out and cut.

    UserError where no pair of training is left, and as of `cached_corpus`.
    """
    dtype = np.dtype(tokenizer.dtype)

    def build(write: Callable[[bytes], None]) -> Built:
        kept, cut = Counter(dict.fromkeys(SPLITS, 0)), Counter(dict.fromkeys(SPLITS, 0))
        empty, left_out = Counter(dict.fromkeys(SPLITS, 0)), Counter(dict.fromkeys(("empty", "too_long", "ratio"), 0))
        tokens = {name: {"source": 0, "target": 0} for name in SPLITS}
        target_bytes, lengths = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        for name in SPLITS:
            lines = sentences_of(text, name)
            while block := list(itertools.islice(lines, 2 * BLOCK)):
                encoded = tokenizer.encode_sentences(block)
                flat: list[int] = []
                for number in range(0, len(block), 2):
                    source, target = encoded[number : number + 2]
                    blank = not block[number].strip() or not block[number + 1].strip()
                    empty[name] += blank
                    if name == "train" and (reason := _reason(config, blank, len(source), len(target))):
                        left_out[reason] += 1
                        continue
                    cut[name] += max(len(source), len(target)) >= config.context
                    source, target = source[: config.context - 1], target[: config.context - 1]
                    flat += [*source, tokenizer.eos, *target, tokenizer.eos]
                    kept[name] += 1
                    tokens[name]["source"] += len(source) + 1
                    tokens[name]["target"] += len(target) + 1
                    target_bytes[name] += sum(len(tokenizer.pieces[token]) for token in target) + 1
                content = np.array(flat, dtype=dtype).tobytes()
                lengths[name] += len(content)
                write(content)
        if not kept["train"]:
            keeping = {"too_long": "data.too_long=truncate", "ratio": "data.max_ratio=null"}
            helps = [keeping[reason] for reason, n in left_out.items() if n and reason in keeping]
            raise UserError(
                f"none of {counted(sum(left_out.values()), 'pair')} of training is left ({_told(left_out)}); "
                + (f"type {' '.join(helps)}" if helps else "give sentences in both languages")
            )
        facts = {
            "pairs": dict(kept),
            "left_out": dict(left_out),
            "truncated": dict(cut),
            "empty": dict(empty),
            "tokens": tokens,
            "target_bytes": target_bytes,
        }
        return Built(lengths, facts)

    recipe = {
        **{"source": "pairs", "format": FORMAT, "text_sha256": text.sha256, "splits": text.bytes_per_split()},
        **{key: getattr(config, key) for key in ("context", "too_long", "max_ratio")},
        **tokenizer.recipe,
    }
    content = cached_corpus(config, recipe, {}, build)
    tokens = {name: (start // dtype.itemsize, stop // dtype.itemsize) for name, (start, stop) in content.splits.items()}
    return replace(content, tokenizer=tokenizer, tokens=tokens)


def told_pairs(facts: dict[str, dict[str, int]]) -> list[str]:
    """What was left out and cut, a line each; no line where there was nothing."""
    lines = []
    left_out, cut, empty = facts["left_out"], facts["truncated"], facts["empty"]
    if sum(left_out.values()):
        of = sum(left_out.values()) + facts["pairs"]["train"]
        lines.append(f"{sum(left_out.values()):,} of {counted(of, 'pair')} of training left out: {_told(left_out)}")
    for what, counts in (("truncated to data.context", cut), ("with an empty side", empty)):
        others = {name: n for name, n in counts.items() if n and not (what.startswith("with") and name == "train")}
        lines += [f"{n:,} of {counted(facts['pairs'][name], 'pair')} of {name} {what}" for name, n in others.items()]
    return lines


def _reason(config: ParallelConfig, blank: bool, source: int, target: int) -> str | None:
    """Why a pair of training with so many tokens is left out; None: it is kept."""
    if blank:
        return "empty"
    if config.too_long == "drop" and max(source, target) >= config.context:
        return "too_long"
    if config.max_ratio is not None and max(source, target) > config.max_ratio * min(source, target):
        return "ratio"
    return None


def _told(left_out: dict[str, int]) -> str:
    words = {
        "empty": "with an empty side",
        "too_long": "longer than data.context",
        "ratio": "beyond data.max_ratio",
    }
    return ", ".join(f"{left_out[reason]:,} {told}" for reason, told in words.items() if left_out[reason])
