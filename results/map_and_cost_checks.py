"""Claims about copies, about what heads look at and about cost: judged from evaluations, or set beside measurements."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Literal

from results.evaluations import entry
from results.evidence import Run
from results.seeds import Difference as Paired
from results.seeds import paired
from results.verdict import Check, Claim, Sources, Verdict, lacking, of, place


@dataclass(frozen=True)
class CopyDepth(Check):
    """At every copy depth from `first` on, the paired difference to the baseline lies on a side, interval and all.

    A depth on the other side contradicts it; some not told apart leave it unconfirmed. Both are `not reproduced`.
    """

    model: str
    baseline: str
    side: Literal["above", "below"]
    first: int

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim)
        ours, theirs = of(runs, self.model), of(runs, self.baseline)
        if missing := lacking(ours, theirs):
            return missing
        if lacks := _unevaluated([*ours, *theirs], "copy_depth"):
            return lacks
        sides = self._sides(ours, theirs)
        holds = bool(sides) and set(sides.values()) == {self.side}
        other = [depth for depth, side in sides.items() if side in ("above", "below") and side != self.side]
        contradicted = f"contradicted at depth {', '.join(other)}"
        unconfirmed = "not told apart at some; nothing contradicts it"
        why = "at every depth, each with its 95 % interval" if holds else contradicted if other else unconfirmed
        return Verdict("reproduced" if holds else "not reproduced", self._counts(sides), f"{why}; {len(ours)} seeds")

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            ours, theirs = of(evidence.runs, self.model), of(evidence.runs, self.baseline)
            if sides := self._sides(ours, theirs):
                seen = [run for run in ours if run.record and entry(run.record, "copy_depth")]
                found.append(f"{place(evidence, seen)}: {self.model} {self._counts(sides)}")
        return found

    def _sides(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, str]:
        differences = copy_differences(ours, theirs)
        return {depth: d.verdict for depth, d in differences.items() if _start(depth) >= self.first}

    def _counts(self, sides: dict[str, str]) -> str:
        on = sum(side == self.side for side in sides.values())
        return f"{self.side} the {self.baseline} at {on} of {len(sides)} depths from {self.first} on"


def copy_differences(ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Paired]:
    """By copy depth that occurs, the paired difference in bits per byte of runs that were evaluated by copy depth.

    An evaluation holds `depths` (labels), and `counts` and `nats` (blocks x depths), sums over the bytes of a block.
    """
    losses: dict[str, tuple[dict[int, float], dict[int, float]]] = {}
    for side, runs in enumerate((ours, theirs)):
        for run in runs:
            made = entry(run.record, "copy_depth") if run.record else None
            if made is None:
                continue
            for k, depth in enumerate(made["depths"]):
                count = sum(block[k] for block in made["counts"])
                if count:
                    at = losses.setdefault(depth, ({}, {}))
                    at[side][run.seed] = sum(block[k] for block in made["nats"]) / count / log(2)
    differences = {depth: paired(*at) for depth, at in losses.items()}
    return {depth: difference for depth, difference in differences.items() if difference is not None}


def _start(depth: str) -> int:
    """The depth where a bin begins: 4 of 4, 4-7 and 4+."""
    return int(depth.rstrip("+").partition("-")[0])


@dataclass(frozen=True)
class StartDiversity(Check):
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
    judges = False

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            runs = of(evidence.runs, self.model)
            made = [entry(run.record, "synchrony") for run in runs if run.record]
            if shares := [_active(one) for one in made if one is not None]:
                found.append(f"{place(evidence, runs)}: {statistics.mean(shares):.0%} after training")
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
    judges = False

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
    judges = False

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        key = {"time": "seconds", "memory": "peak_memory_bytes"}[self.quantity]
        found = []
        for made in sources.measured.values():
            if not isinstance(made, dict) or made["config"].get("task") != "layers":
                continue
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
