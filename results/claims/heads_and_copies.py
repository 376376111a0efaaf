"""Claims about copies and about what heads look at: judged from evaluations, or set beside measurements."""

from collections.abc import Sequence
from math import isnan
from statistics import mean
from typing import Any, Literal

from measures.statistics import Estimate, difference_over_seeds
from results.claims.claim import Check, Stated, Text
from results.claims.comparison import Comparison
from results.claims.sources import Sources, runs_of, where_from
from results.document import amount
from results.evidence.copy_depth import by_depth, start
from results.evidence.locking import LOCKED, locked_rows
from results.evidence.runs import Run
from results.evidence.stored import stored_evaluation

HeadsOutput = dict[str, Any]  # an evaluation task=synchrony, or one entry of results.heads: `heads` by layer


class CopyDepth(Comparison):
    """The difference to the transformer at every copy depth from `first` on that occurs."""

    kind: Literal["copy_depth"] = "copy_depth"
    baseline: Literal["transformer"] = "transformer"  # the one that results.evidence.copy_depth compares with
    first: int
    unit = "depth"
    evaluation = ("copy_depth", False)

    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        evaluated = [
            (run.record, evaluation)
            for run in (*ours, *theirs)
            if run.record is not None and (evaluation := stored_evaluation(run.record, "copy_depth")) is not None
        ]
        bins = by_depth(evaluated)
        estimates: dict[str, Estimate | None] = {}
        for k, label in enumerate(bins.labels):
            difference = bins.difference(self.model, k)
            if start(label) >= self.first and difference is not None and not isnan(difference.value):
                estimates[f"depth {label}"] = difference
        return estimates


class StartDiversity(Comparison):
    """How much further apart the heads of a model are at step 0 than the baseline's, mean over layers."""

    kind: Literal["start_diversity"] = "start_diversity"
    unit = "start"
    evaluation = ("synchrony", True)

    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        return {"at the start": difference_over_seeds(_diversities(ours), _diversities(theirs))}

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = super().nearest(claim, sources)
        for outputs in sources.measured.heads:
            at_start = {output["config"]["model"]["name"]: output for output in outputs if output["step"] == 0}
            if {self.model, self.baseline} <= at_start.keys():
                both = ", ".join(f"{name} {_diversity(at_start[name]):.3f}" for name in (self.model, self.baseline))
                lines.append(f"{_where(at_start[self.model])}: {both}")
        return lines


class ActiveShare(Check):
    """The share of pairs that a trained model's heads weigh, mean over layers and heads; shown, not judged."""

    kind: Literal["active_share"] = "active_share"
    model: Text

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = []
        for evidence in sources.cpu_evidence(claim.table):
            runs = [run for run in runs_of(evidence.runs, self.model) if run.record]
            evaluated = [run for run in runs if run.record and stored_evaluation(run.record, "synchrony")]
            outputs = [stored_evaluation(run.record, "synchrony") for run in evaluated if run.record]
            if shares := [_active(output) for output in outputs if output]:
                lines.append(f"{where_from(evidence, evaluated)}: {mean(shares):.0%} after training")
        measured = [output for outputs in sources.measured.heads for output in outputs]
        of_model = [output for output in measured if output["config"]["model"]["name"] == self.model]
        return lines + [f"{_where(output)}: {_active(output):.0%}" for output in of_model]


class LockedEarly(Check):
    """The share of pairs that are locked where it was first, next and last measured; shown, not judged."""

    kind: Literal["locked_early"] = "locked_early"
    model: Text

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = []
        for evidence in sources.cpu_evidence(claim.table):
            runs = [run for run in runs_of(evidence.runs, self.model) if locked_rows(run)]
            shares: dict[int, list[float]] = {}  # tokens -> by run
            for run in runs:
                for row in locked_rows(run):
                    shares.setdefault(row["tokens"], []).append(mean(share for heads in row[LOCKED] for share in heads))
            chosen = sorted(tokens for tokens, values in shares.items() if len(values) == len(runs))
            if chosen:
                at = dict.fromkeys([*chosen[:2], chosen[-1]])
                texts = [f"{mean(shares[tokens]):.0%} after {amount(tokens, 1)} tokens" for tokens in at]
                lines.append(f"{where_from(evidence, runs)}: {', '.join(texts)}")
        return lines


def _diversities(runs: Sequence[Run]) -> list[float]:
    outputs = [stored_evaluation(run.record, "synchrony", start=True) for run in runs if run.record]
    return [_diversity(output) for output in outputs if output is not None]


def _diversity(output: HeadsOutput) -> float:
    """Mean over the layers that have heads."""
    return mean(layer["diversity"] for layer in output["heads"] if layer["diversity"] is not None)


def _active(output: HeadsOutput) -> float:
    return mean(share for layer in output["heads"] for share in layer["active"])


def _where(output: HeadsOutput) -> str:
    """`enwiki2015, 1m, at the start, one seed`: of one entry of results.heads."""
    at = "at the start" if output["step"] == 0 else f"at step {output['step']:,}"
    return f"{output['data']['name']}, {output['config']['scale']['name']}, {at}, one seed"
