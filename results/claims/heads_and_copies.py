"""Claims about copies, about what heads look at and about cost: judged from evaluations, or set beside measurements."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Literal

from results.claims.claim import Check, Claim, Judge
from results.claims.sources import Sources, runs_of, verdict_if_missing, where_from
from results.claims.verdict import Verdict
from results.evidence.copy_depth import BASELINE, by_depth, start
from results.evidence.runs import Run
from results.evidence.stored import stored_evaluation
from results.statistics import paired


@dataclass(frozen=True)
class CopyDepth(Judge):
    """At every copy depth from `first` on, the paired difference to the transformer lies on a side, interval and all.

    Intervals are those of the table, `results.paired_blocks`. A depth on the other side contradicts it; some that
    cannot be told leave it unconfirmed. Both are `not reproduced`.
    """

    model: str
    side: Literal["above", "below"]
    first: int

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim.table, claim.protocol.corpus)
        ours, theirs = runs_of(runs, self.model), runs_of(runs, BASELINE)
        if missing := verdict_if_missing(ours, theirs):
            return missing
        if lacks := _unevaluated([*ours, *theirs], "copy_depth"):
            return lacks
        sides, seeds = self._sides(ours, theirs)
        holds = bool(sides) and set(sides.values()) == {self.side}
        other = [depth for depth, side in sides.items() if side in ("above", "below") and side != self.side]
        contradicted = f"contradicted at depth {', '.join(other)}"
        unconfirmed = "cannot be told at some; nothing contradicts it"
        why = "at every depth, each with its 95 % interval" if holds else contradicted if other else unconfirmed
        return Verdict("reproduced" if holds else "not reproduced", self._counts(sides), f"{why}; {seeds} seeds")

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            ours, theirs = runs_of(evidence.runs, self.model), runs_of(evidence.runs, BASELINE)
            sides, seeds = self._sides(ours, theirs)
            if sides:
                found.append(f"{where_from(evidence, ours, seeds)}: {self.model} {self._counts(sides)}")
        return found

    def _sides(self, ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[dict[str, str], int]:
        """By depth that occurs, on which side the model is, and how many seeds both have."""
        made = [
            (run.record, found)
            for run in (*ours, *theirs)
            if run.record is not None and (found := stored_evaluation(run.record, "copy_depth")) is not None
        ]
        if not made:
            return {}, 0
        bins = by_depth(made)
        differences = {label: bins.difference(self.model, k) for k, label in enumerate(bins.labels)}
        told = {label: d.side for label, d in differences.items() if d is not None and not isnan(d.value)}
        return {label: side for label, side in told.items() if start(label) >= self.first}, len(bins.shared(self.model))

    def _counts(self, sides: dict[str, str]) -> str:
        on = sum(side == self.side for side in sides.values())
        return f"{self.side} the {BASELINE} at {on} of {len(sides)} depths from {self.first} on"


@dataclass(frozen=True)
class StartDiversity(Judge):
    """At step 0 the heads of a model are further apart than the baseline's, mean over layers, interval and all."""

    model: str
    baseline: str

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim.table, claim.protocol.corpus)
        ours, theirs = runs_of(runs, self.model), runs_of(runs, self.baseline)
        if missing := verdict_if_missing(ours, theirs):
            return missing
        if lacks := _unevaluated([*ours, *theirs], "synchrony", start=True):
            return lacks
        difference = paired(_diversity(ours), _diversity(theirs))
        assert difference is not None, "lacking() refuses runs without a record"
        status = "reproduced" if difference.verdict == "above" else "not reproduced"
        return Verdict(status, str(difference), f"{difference.verdict} the {self.baseline}'s; {difference.seeds} seeds")

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            ours, theirs = (
                _diversity(runs_of(evidence.runs, self.model)),
                _diversity(runs_of(evidence.runs, self.baseline)),
            )
            if ours and theirs:
                scale = evidence.runs[0].config.scale.name
                both = [statistics.mean(values.values()) for values in (ours, theirs)]
                found.append(f"{evidence.corpus}, {scale}, {len(ours)} seeds: {self._pair(*both)}")
        for made in _heads(sources):
            both_at = {one["config"]["model"]["name"]: one for one in made if one["step"] == 0}
            if {self.model, self.baseline} <= both_at.keys():
                means = [_mean_diversity(both_at[model]) for model in (self.model, self.baseline)]
                found.append(f"{_where(both_at[self.model])}: {self._pair(*means)}")
        return found

    def _pair(self, ours: float, theirs: float) -> str:
        return f"{self.model} {ours:.3f}, {self.baseline} {theirs:.3f}"


@dataclass(frozen=True)
class ActiveShare(Check):
    """The share of pairs that a trained model's heads weigh, mean over layers and heads; told, not judged."""

    model: str

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            runs = runs_of(evidence.runs, self.model)
            made = [stored_evaluation(run.record, "synchrony") for run in runs if run.record]
            if shares := [_active(one) for one in made if one is not None]:
                found.append(f"{where_from(evidence, runs, len(shares))}: {statistics.mean(shares):.0%} after training")
        for many in _heads(sources):
            for one in many:
                if one["config"]["model"]["name"] == self.model:
                    found.append(f"{_where(one)}: {_active(one):.0%}")
        return found


def _unevaluated(runs: Sequence[Run], task: str, start: bool = False) -> Verdict | None:
    k = sum(run.record is not None and stored_evaluation(run.record, task, start) is not None for run in runs)
    if k == len(runs):
        return None
    return Verdict("not run", "", f"{k} of {len(runs)} runs are evaluated: eval.py task={task}")


def _diversity(runs: Sequence[Run]) -> dict[int, float]:
    made = {run.seed: stored_evaluation(run.record, "synchrony", start=True) for run in runs if run.record}
    return {seed: _mean_diversity(one) for seed, one in made.items() if one is not None}


def _mean_diversity(made: dict[str, Any]) -> float:
    return statistics.mean(layer["diversity"] for layer in made["heads"])


def _active(made: dict[str, Any]) -> float:
    return statistics.mean(share for layer in made["heads"] for share in layer["active"])


def _heads(sources: Sources) -> list[list[dict[str, Any]]]:
    """The outputs of results.heads among the measurements."""
    return [made for made in sources.measured.values() if isinstance(made, list)]


def _where(made: dict[str, Any]) -> str:
    """`enwiki2015, 1m, at the start`: of one entry of results.heads."""
    at = "at the start" if made["step"] == 0 else f"at step {made['step']:,}"
    return f"{made['data']['name']}, {made['config']['scale']['name']}, {at}, one seed"
