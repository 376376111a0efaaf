"""Loss by copy depth from run records: tables, the verdict on the paper's claim, and the figure.

Of each run one evaluation by `python eval.py run=PATH task=copy_depth` is given. Everything is computed from its sums.
All losses are in bits per byte; intervals are those of `results.paired_blocks`. The claim is that of arXiv 2606.18694.

Legend: S seeds, K blocks, D depths, G classes of depths, R ranges of distance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.schema import MODELS
from results.evidence.settings import CIRCUMSTANCES, differing_settings, same, same_data
from results.evidence.stored import Evaluated
from results.paired_blocks import UNKNOWN, Estimate, mean_loss, paired_difference

BASELINE = "transformer"
COPIES = 4  # from this depth on the paper's claim says that the full kernel reverses the base layer's loss
# Model, the side of the transformer's loss that its own is claimed to lie on, from which depth on, in words.
STATEMENTS = (
    ("kuramoto", "above", 0, "the base layer is behind at every copy depth"),
    ("fsn", "below", COPIES, f"the full kernel reverses that at every copy depth of {COPIES} or more"),
)
LN2 = math.log(2)


@dataclass(frozen=True)
class CopyingStatement:
    """What the intervals say of a claim. By depth: "below" or "above" the transformer, "cannot be told", or no bytes.

    `outcome`: "holds" when every depth of the claim is on the claimed side, "does not hold" when one or more are on the
    other, else "cannot be told"; "not run" without the model or a transformer of the same seed, "one seed" where they
    share only one: intervals are then over the text alone. Each depth has its own 95 % interval, so of twenty that do
    not differ one is expected on a side by chance.
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

    def of(self, chosen: Sequence[int]) -> "Bins":
        """The chosen bins alone."""
        bits = {m: {s: x[:, chosen] for s, x in seeds.items()} for m, seeds in self.bits.items()}
        return Bins([self.labels[k] for k in chosen], self.counts[:, chosen], bits)

    def merged(self, label: str, chosen: Sequence[int]) -> "Bins":
        """The chosen bins as one."""
        bits = {m: {s: x[:, chosen].sum(1, keepdims=True) for s, x in seeds.items()} for m, seeds in self.bits.items()}
        return Bins([label], self.counts[:, chosen].sum(1, keepdims=True), bits)

    @staticmethod
    def added(parts: "Sequence[Bins]") -> "Bins":
        """Bins of the same labels and models, each the sum of those of all parts."""
        first = parts[0]
        bits = {
            m: {s: sum((of.bits[m][s] for of in parts), 0 * first.counts) for s in first.bits[m]} for m in first.bits
        }
        return Bins(first.labels, sum((of.counts for of in parts), 0 * first.counts), bits)

    def share(self, k: int) -> float:
        """Of all bytes, those in bin k."""
        return float(self.counts[:, k].sum() / max(1, self.counts.sum()))

    def mean(self, model: str, k: int) -> Estimate:
        """Mean over seeds of a model's loss in bin k; the interval is over the text alone."""
        return mean_loss(np.mean([sums[:, k] for sums in self.bits[model].values()], 0), self.counts[:, k])

    def shared(self, model: str) -> list[int]:
        """The seeds of a model that the transformer has too."""
        return sorted(self.bits.get(model, {}).keys() & self.bits.get(BASELINE, {}).keys())

    def difference(self, model: str, k: int) -> Estimate | None:
        """A model's loss in bin k less the transformer's of the same seeds; None where they share no seed."""
        ours, base = self.bits.get(model, {}), self.bits.get(BASELINE, {})
        shared = self.shared(model)
        if not shared or model == BASELINE:
            return None
        sums, base_sums = (np.array([of[seed][:, k] for seed in shared]) for of in (ours, base))
        return paired_difference(sums, base_sums, self.counts[:, k])


def statements(evaluated: Sequence[Evaluated]) -> list[CopyingStatement]:
    """What the intervals say of each of CLAIMS. UserError as of `table`."""
    bins = by_depth(evaluated)
    made = []
    for model, expected, lowest, claim in STATEMENTS:
        sides: dict[str, str] = {}
        for k, label in enumerate(bins.labels):
            difference = bins.difference(model, k)
            if difference is not None and start(label) >= lowest:
                sides[label] = "no bytes" if math.isnan(difference.value) else difference.side
        told = {side for side in sides.values() if side != "no bytes"}
        if not sides:
            outcome = "not run"
        elif len(bins.shared(model)) == 1:
            outcome = "one seed"
        elif told - {expected, UNKNOWN}:
            outcome = "does not hold"
        else:
            outcome = "holds" if told == {expected} else UNKNOWN
        made.append(CopyingStatement(model, claim, outcome, sides))
    return made


def by_depth(evaluated: Sequence[Evaluated]) -> Bins:
    """Losses by depth. UserError as of `table`."""
    entries = _comparable(evaluated)
    return _bins(evaluated, entries[0]["depths"], entries)


def by_distance(evaluated: Sequence[Evaluated]) -> dict[str, Bins]:
    """Losses by distance of each class of depths. UserError as of `table`."""
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
    found: dict[str, dict[int, np.ndarray]] = {}
    for (record, _), of in zip(evaluated, sums, strict=True):
        found.setdefault(str(record.config["model"]["name"]), {})[record.seed] = np.array(of["nats"]) / LN2
    order = sorted(found, key=lambda model: [*MODELS, model].index(model))
    return Bins(labels, np.array(sums[0]["counts"]), {model: dict(sorted(found[model].items())) for model in order})


def _comparable(evaluated: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The evaluations; refuses what `table` says."""
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
            raise UserError("these evaluations by copy depth have different bins: type eval.py task=copy_depth again")
    return entries


def _cut(entry: dict[str, Any]) -> dict[str, Any]:
    """What the same bytes in the same bins must have in common."""
    parts = {key: entry[key] for key in ("depths", "distances", "counts")}
    return parts | {f"by_distance {key}": entry["by_distance"][key] for key in ("depths", "counts")}


def start(label: str) -> int:
    """The depth where a bin begins: 4 of 4, 4-7 and 4+."""
    return int(label.rstrip("+").partition("-")[0])
