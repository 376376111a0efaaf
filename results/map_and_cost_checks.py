"""Claims about copies, about what heads look at and about cost: judged from evaluations, or set beside measurements."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Literal

from results.copy_depth import BASELINE, by_depth, start
from results.evaluations import entry
from results.evidence import Run
from results.seeds import paired
from results.verdict import Check, Claim, Judge, Sources, Verdict, lacking, of, place


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
        runs = sources.own(claim)
        ours, theirs = of(runs, self.model), of(runs, BASELINE)
        if missing := lacking(ours, theirs):
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
            ours, theirs = of(evidence.runs, self.model), of(evidence.runs, BASELINE)
            sides, seeds = self._sides(ours, theirs)
            if sides:
                found.append(f"{place(evidence, ours, seeds)}: {self.model} {self._counts(sides)}")
        return found

    def _sides(self, ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[dict[str, str], int]:
        """By depth that occurs, on which side the model is, and how many seeds both have."""
        made = [
            (run.record, found)
            for run in (*ours, *theirs)
            if run.record is not None and (found := entry(run.record, "copy_depth")) is not None
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
        runs = sources.own(claim)
        ours, theirs = of(runs, self.model), of(runs, self.baseline)
        if missing := lacking(ours, theirs):
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
            ours, theirs = _diversity(of(evidence.runs, self.model)), _diversity(of(evidence.runs, self.baseline))
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
            runs = of(evidence.runs, self.model)
            made = [entry(run.record, "synchrony") for run in runs if run.record]
            if shares := [_active(one) for one in made if one is not None]:
                found.append(f"{place(evidence, runs, len(shares))}: {statistics.mean(shares):.0%} after training")
        for many in _heads(sources):
            for one in many:
                if one["config"]["model"]["name"] == self.model:
                    found.append(f"{_where(one)}: {_active(one):.0%}")
        return found


@dataclass(frozen=True)
class Flops(Check):
    """Floating-point operations of training per token, against the baseline of the same size; told, not judged."""

    model: str
    baseline: str
    sweep: str

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(self.sweep):
            ours = [run.record for run in of(evidence.runs, self.model, self.model) if run.record]
            theirs = [run.record for run in of(evidence.runs, self.baseline, self.baseline) if run.record]
            if ours and theirs:
                ratio = ours[0].flops_per_token / theirs[0].flops_per_token
                context = ours[0].config["data"]["context"]
                scale = ours[0].config["scale"]["name"]
                text = (
                    f"whole models of {scale} at N = {context}, matrix products of a training step: {self.model} takes "
                )
                found.append(f"{text}{ratio:.2f} times the {self.baseline}'s: {'more' if ratio > 1 else 'fewer'}")
        return found


@dataclass(frozen=True)
class LayerCost(Check):
    """Time or peak memory of attention layers against a baseline's, at the greatest length; told, not judged."""

    layers: tuple[str, ...]
    baseline: str
    quantity: Literal["time", "memory"]

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for made in sources.measured.values():
            if not isinstance(made, dict) or made["config"].get("task") != "layers":
                continue
            # As in the table, whose ratios to the first layer are medians over rounds, not ratios of medians.
            time = "ratio" if self.baseline == made["config"]["layers"][0] else "seconds"
            key = time if self.quantity == "time" else "peak_memory_bytes"
            costs = {(timing["layer"], timing["tokens"]): timing[key] for timing in made["timings"]}
            lengths = [n for layer, n in costs if layer == self.baseline and costs[layer, n]]
            ratios = [
                f"{layer} {costs[layer, max(lengths)] / costs[self.baseline, max(lengths)]:.2f}"
                for layer in self.layers
                if lengths and (layer, max(lengths)) in costs
            ]
            if ratios:
                config = made["config"]
                where = (
                    f"{made['device']}, width {config['d_model']}, {config['n_heads']} heads, N = {max(lengths):,}, "
                )
                where += "forward and backward" if config["backward"] else "forward alone"
                more = all(float(ratio.rpartition(" ")[2]) > 1 for ratio in ratios)
                found.append(f"{where}: {', '.join(ratios)} times {self.baseline}'s {self.quantity}{': more' * more}")
        return found


def _unevaluated(runs: Sequence[Run], task: str, start: bool = False) -> Verdict | None:
    k = sum(run.record is not None and entry(run.record, task, start) is not None for run in runs)
    if k == len(runs):
        return None
    return Verdict("not run", "", f"{k} of {len(runs)} runs are evaluated: eval.py task={task}")


def _diversity(runs: Sequence[Run]) -> dict[int, float]:
    made = {run.seed: entry(run.record, "synchrony", start=True) for run in runs if run.record}
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
