"""Loss by copy depth from run records, in bits per byte, and what it says about the claim of arXiv 2606.18694 on
copying.

Of each run one evaluation by `python eval.py run=PATH task=copy_depth` is given. Everything is computed from its sums;
intervals are those of `measures.statistics`.

Legend: S seeds, K blocks, D depths, G classes of depths, R ranges of distance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.schema import MODELS
from measures.statistics import NOT_SIGNIFICANT, Estimate, difference_over_text, mean_over_text
from results.evidence.settings import CIRCUMSTANCES, TRANSFORMER, differing_settings, same, same_data
from results.evidence.stored import Evaluated

COPIES = 4  # from this depth on the paper's claim says that the full kernel reverses the base layer's loss
# Model, the side of the transformer's loss that its own is claimed to lie on, from which depth on, in words.
STATEMENTS = (
    ("kuramoto", "above", 0, "the base layer is behind at every copy depth"),
    ("fsn", "below", COPIES, f"the full kernel reverses that at every copy depth of {COPIES} or more"),
)
LN2 = math.log(2)


@dataclass(frozen=True)
class CopyingStatement:
    """What the intervals say of a claim. By depth: "below" or "above" the transformer, "not significant", or no bytes.

    `outcome`: "holds" when every depth of the claim is on the claimed side, "does not hold" when one or more are on the
    other, else "not significant"; "not run" without the model or a transformer, "one seed" where one of them has no
    other: intervals are then over the text alone. Each depth has its own 95 % interval, so of twenty that do not differ
    one is expected on a side by chance.
    """

    model: str
    claim: str
    outcome: str
    by_depth: dict[str, str]


@dataclass(frozen=True)
class Bins:
    """Losses of all models in the same bins."""

    labels: list[str]
    counts: np.ndarray  # (K, bins)
    bits: dict[str, dict[int, np.ndarray]]  # model -> seed -> sums (K, bins), in the order of configs.schema.MODELS

    def chosen(self, bins: Sequence[int]) -> "Bins":
        """The chosen bins alone."""
        bits = {m: {s: x[:, bins] for s, x in seeds.items()} for m, seeds in self.bits.items()}
        return Bins([self.labels[k] for k in bins], self.counts[:, bins], bits)

    def merged(self, label: str, bins: Sequence[int]) -> "Bins":
        """The chosen bins as one."""
        bits = {m: {s: x[:, bins].sum(1, keepdims=True) for s, x in seeds.items()} for m, seeds in self.bits.items()}
        return Bins([label], self.counts[:, bins].sum(1, keepdims=True), bits)

    @staticmethod
    def added(parts: "Sequence[Bins]") -> "Bins":
        """Bins of the same labels and models, each the sum of those of all parts."""
        first = parts[0]
        bits = {
            m: {s: sum((part.bits[m][s] for part in parts), 0 * first.counts) for s in first.bits[m]}
            for m in first.bits
        }
        return Bins(first.labels, sum((part.counts for part in parts), 0 * first.counts), bits)

    def share(self, k: int) -> float:
        """Of all bytes, those in bin k."""
        return float(self.counts[:, k].sum() / max(1, self.counts.sum()))

    def mean(self, model: str, k: int) -> Estimate:
        """Mean over seeds of a model's loss in bin k; the interval is over the text alone."""
        return mean_over_text(self._sums(model, k).mean(0), self.counts[:, k])

    def difference(self, model: str, k: int) -> Estimate | None:
        """A model's loss in bin k less the transformer's, means over all seeds of both; None where there is no such
        difference. The interval is over the text, block by block, and over the seeds where both have several.
        """
        if model == TRANSFORMER or not {model, TRANSFORMER} <= self.bits.keys():
            return None
        return difference_over_text(self._sums(model, k), self._sums(TRANSFORMER, k), self.counts[:, k])

    def _sums(self, model: str, k: int) -> np.ndarray:
        """(S, K)"""
        return np.array([sums[:, k] for sums in self.bits[model].values()])


def statements(evaluated: Sequence[Evaluated]) -> list[CopyingStatement]:
    """What the intervals say of each of STATEMENTS. UserError as of `by_depth`."""
    bins = by_depth(evaluated)
    judged = []
    for model, expected, lowest, claim in STATEMENTS:
        sides: dict[str, str] = {}
        for k, label in enumerate(bins.labels):
            difference = bins.difference(model, k)
            if difference is not None and start(label) >= lowest:
                sides[label] = "no bytes" if math.isnan(difference.value) else difference.side
        significant = set(sides.values()) & {"above", "below"}
        if not sides:
            outcome = "not run"
        elif min(len(bins.bits[name]) for name in (model, TRANSFORMER)) == 1:
            outcome = "one seed"
        elif significant - {expected}:
            outcome = "does not hold"
        else:
            outcome = "holds" if set(sides.values()) - {"no bytes"} == {expected} else NOT_SIGNIFICANT
        judged.append(CopyingStatement(model, claim, outcome, sides))
    return judged


def by_depth(evaluated: Sequence[Evaluated]) -> Bins:
    """Losses by depth.

    UserError for two runs of one model and seed, for runs of a model that differ in more than the seed, and for
    evaluations of different data, splits, bytes, windows, steps or bins.
    """
    entries = _comparable(evaluated)
    return _bins(evaluated, entries[0]["depths"], entries)


def by_distance(evaluated: Sequence[Evaluated]) -> dict[str, Bins]:
    """Losses by distance of each class of depths. UserError as of `by_depth`."""
    entries = _comparable(evaluated)
    return {
        depths: _bins(
            evaluated,
            entries[0]["distances"],
            [{key: np.array(entry["by_distance"][key])[:, g] for key in ("counts", "nats")} for entry in entries],
        )
        for g, depths in enumerate(entries[0]["by_distance"]["depths"])
    }


def _bins(evaluated: Sequence[Evaluated], labels: list[str], sums: Sequence[dict[str, Any]]) -> Bins:
    bits: dict[str, dict[int, np.ndarray]] = {}
    for (record, _), of_run in zip(evaluated, sums, strict=True):
        bits.setdefault(str(record.config["model"]["name"]), {})[record.seed] = np.array(of_run["nats"]) / LN2
    order = sorted(bits, key=lambda model: [*MODELS, model].index(model))
    return Bins(labels, np.array(sums[0]["counts"]), {model: dict(sorted(bits[model].items())) for model in order})


def _comparable(evaluated: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The evaluations; refuses what `by_depth` says."""
    if not evaluated:
        raise UserError("copy depth needs at least one evaluated run")
    records, entries = [record for record, _ in evaluated], [entry for _, entry in evaluated]
    same_data(records)
    seen = set()
    for record in records:
        run = f"{record.config['model']['name']}, seed {record.seed}"
        if run in seen:
            raise UserError(f"there are two runs of {run}: give one of each model and seed")
        seen.add(run)
    if different := differing_settings(records, CIRCUMSTANCES):
        raise UserError(f"runs of one model differ in {different[0]}, not only in the seed: give one setting of each")
    for key in ("split", "bytes", "context", "step"):
        same(f"{key} of the evaluation by copy depth", [entry[key] for entry in entries])
    for entry in entries:
        if any(_cut(entry)[key] != _cut(entries[0])[key] for key in _cut(entry)):
            raise UserError(
                "these evaluations by copy depth have different bins: for each type "
                "python eval.py run=PATH task=copy_depth"
            )
    return entries


def _cut(entry: dict[str, Any]) -> dict[str, Any]:
    """What the same bytes in the same bins must have in common."""
    parts = {key: entry[key] for key in ("depths", "distances", "counts")}
    return parts | {f"by_distance {key}": entry["by_distance"][key] for key in ("depths", "counts")}


def start(label: str) -> int:
    """The depth where a bin begins: 4 of 4, 4-7 and 4+."""
    return int(label.rstrip("+").partition("-")[0])
