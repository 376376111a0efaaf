"""A model beside a baseline: one way from the runs of both to a verdict, whatever is compared."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from configs.counted import counted
from measures.statistics import Estimate
from results.claims.claim import Judge, Stated, Text
from results.claims.sources import Sources, by_scale, runs_of, verdict_if_missing, where_from
from results.claims.verdict import SIGNIFICANT, Verdict, side_of_band, status_of
from results.evidence.runs import Run, few
from results.evidence.stored import stored_evaluation

FEW = 5  # estimates that are all shown; of more the counts, and the last


class Comparison(Judge):
    """Differences of a model to a baseline, one or several, that are claimed to be on a side of zero, each of them, or
    `within` the tolerance of the stated difference: that of the first two values, or zero without values.

    `row`, `baseline_row`: of the sweep; the latter is `row` where none is given.
    """

    model: Text
    baseline: Text
    claimed: Literal["above", "below", "within"]
    row: Text | None = None
    baseline_row: Text | None = None
    unit: ClassVar[str] = "place"  # what there is an estimate for each of
    evaluation: ClassVar[tuple[str, bool] | None] = None  # the task that it needs, and whether of step 0

    @abstractmethod
    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        """The differences by place, from usable runs of both; None where a model lacks a run."""

    def fault(self, claim: Stated) -> str | None:
        if self.claimed == "within" and (not claim.tolerance or len(claim.values) == 1):
            return "claimed: within needs a tolerance, and two values or none"
        return None

    def wanted(self, runs: Sequence[Run]) -> list[Run]:
        """Those of a protocol's runs that the claim is of."""
        return list(runs)

    def verdict(self, claim: Stated, sources: Sources) -> Verdict:
        ours, theirs = self._pair(self.wanted(sources.protocol_runs(claim.table, claim.protocol.corpus)))
        if missing := verdict_if_missing(*(by_scale(ours).values() or [[]]), *(by_scale(theirs).values() or [[]])):
            return missing
        evaluated = len([*filter(self._usable, [*ours, *theirs])])
        if self.evaluation and evaluated < len(ours) + len(theirs):
            text = f"{evaluated} of {len(ours) + len(theirs)} runs evaluated: eval.py task={self.evaluation[0]}"
            return Verdict("not run", "", text)
        estimates = self.estimates(ours, theirs)
        complete = {place: estimate for place, estimate in estimates.items() if estimate is not None}
        if lacking := len(estimates) - len(complete):
            text = f"{lacking} of {len(estimates)} {self.unit}s lack a run of one of the models"
            return Verdict("not run", "", text)
        if not complete:
            return Verdict("inconclusive", "", f"there is no {self.unit} to compare at")
        sides = {place: self._side(claim, estimate) for place, estimate in complete.items()}
        over, seeds = next(iter(complete.values())).over, len({run.seed for run in ours})
        why = f"{self._why(claim, sides)}; 95 % interval over {over}, {counted(seeds, 'seed')}"
        return Verdict(status_of(sides.values(), self.claimed), self._summary(complete, sides), why)

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = []
        name = f"{self.model} ({self.row})" if self.model == self.baseline and self.row else self.model
        for evidence in sources.cpu_evidence(claim.table):
            ours, theirs = ([*filter(self._usable, runs)] for runs in self._pair(evidence.runs))
            estimates = self.estimates(ours, theirs) if ours and theirs else {}
            if complete := {place: estimate for place, estimate in estimates.items() if estimate is not None}:
                sides = {place: estimate.side for place, estimate in complete.items()}
                where = where_from(evidence, ours, start=bool(self.evaluation and self.evaluation[1]))
                lines.append(f"{where}: {name} minus {self.baseline}: {self._summary(complete, sides)}")
        return lines

    def _pair(self, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
        return runs_of(runs, self.model, self.row), runs_of(runs, self.baseline, self.baseline_row or self.row)

    def _usable(self, run: Run) -> bool:
        if run.record is None or run.record.final is None:
            return False
        return self.evaluation is None or stored_evaluation(run.record, *self.evaluation) is not None

    def _stated_difference(self, claim: Stated) -> float:
        return claim.values[0].value - claim.values[1].value if claim.values else 0.0

    def _side(self, claim: Stated, estimate: Estimate) -> str:
        if self.claimed != "within" or claim.tolerance is None:
            return estimate.side
        return side_of_band(estimate, self._stated_difference(claim), claim.tolerance)

    def _summary(self, estimates: Mapping[str, Estimate], sides: Mapping[str, str]) -> str:
        """`+0.0816 ± 0.0363 (above)`; each of a few; of many the counts, and the last."""
        shown = {place: f"{estimate.shown('+')} ({sides[place]})" for place, estimate in estimates.items()}
        if len(shown) == 1:
            return next(iter(shown.values()))
        if len(shown) <= FEW:
            return ", ".join(f"{place} {text}" for place, text in shown.items())
        counts = ", ".join(f"{side} at {count}" for side, count in Counter(sides.values()).most_common())
        last = list(shown)[-1]
        return f"{counts} of {len(shown)} {self.unit}s; {last} {shown[last]}"

    def _why(self, claim: Stated, sides: Mapping[str, str]) -> str:
        claimed: str = self.claimed
        if claimed == "within":
            claimed += f" {claim.tolerance:g} of {self._stated_difference(claim):+.4f}"
        if len(sides) == 1:
            return f"{next(iter(sides.values()))}, where {claimed} is claimed"
        status = status_of(sides.values(), self.claimed)
        if status == "reproduced":
            return f"{claimed} at every {self.unit}"
        if status == "not reproduced":
            contrary = [place for place, side in sides.items() if side in SIGNIFICANT and side != self.claimed]
            return f"{sides[contrary[0]]} at {few(contrary)}, where {claimed} is claimed"
        on_side = sum(side == self.claimed for side in sides.values())
        return f"{claimed} at {on_side} of {len(sides)} {self.unit}s, and nowhere significantly against it"
