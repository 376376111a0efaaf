"""Claims about validation losses, judged from run records. All are in bits per byte, here the same as per character.

Differences are paired by seed with a 95 % interval (results.statistics); what a status means is in
results.claims.claim.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from results.claims.claim import Claim, Judge
from results.claims.sources import Sources, final_losses, runs_of, verdict_if_missing, where_from
from results.claims.verdict import Verdict
from results.evidence.runs import Run
from results.statistics import Difference as Paired
from results.statistics import paired, spread

Side = Literal["above", "below", "level"]


@dataclass(frozen=True)
class FinalLevel(Judge):
    """The mean of a model's final losses is within the tolerance of the stated value."""

    model: str
    row: str

    def fault(self, claim: Claim) -> str | None:
        return None if claim.values and claim.tolerance else "a level needs a value and a tolerance"

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = runs_of(sources.own(claim.table, claim.protocol.corpus), self.model, self.row)
        if missing := verdict_if_missing(runs):
            return missing
        assert claim.tolerance is not None, "fault() refuses a claim without"
        losses = final_losses(runs)
        away = statistics.mean(losses.values()) - claim.values[0].value
        status = "reproduced" if abs(away) <= claim.tolerance else "not reproduced"
        why = f"{away:+.4f} from the stated value, tolerance {claim.tolerance:g}, {len(losses)} seeds"
        return Verdict(status, spread(losses, len(losses)), why)

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            runs = runs_of(evidence.runs, self.model, self.row)
            if losses := final_losses(runs):
                found.append(f"{where_from(evidence, runs)}: {self.model} {spread(losses, len(losses))}")
        return found


@dataclass(frozen=True)
class BelowEverywhere(Judge):
    """At every checkpoint the paired difference to the baseline is below zero, interval and all.

    One checkpoint above, interval and all, contradicts it; some not told apart and none above leave it unconfirmed.
    Both are `not reproduced`.
    """

    model: str
    baseline: str
    row: str

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim.table, claim.protocol.corpus)
        ours, theirs = runs_of(runs, self.model, self.row), runs_of(runs, self.baseline, self.row)
        if missing := verdict_if_missing(ours, theirs):
            return missing
        every = by_checkpoint(ours, theirs)
        differences = [difference for difference in every if difference is not None]
        if short := sum(difference is None or difference.seeds < len(ours) for difference in every):
            return Verdict("not run", "", f"{short} of {len(every)} checkpoints lack a run of one of the models")
        sides = Counter(difference.verdict for difference in differences)
        status = "reproduced" if differences and sides["below"] == len(differences) else "not reproduced"
        why = (
            "below at every checkpoint, each with its 95 % interval"
            if status == "reproduced"
            else f"contradicted: above it at {sides['above']} checkpoints"
            if sides["above"]
            else "not told apart from it at some; nothing contradicts it"
        )
        return Verdict(status, _along(differences), f"{why}; {len(ours)} seeds")

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            ours, theirs = (runs_of(evidence.runs, model, self.row) for model in (self.model, self.baseline))
            if differences := [difference for difference in by_checkpoint(ours, theirs) if difference is not None]:
                seeds = differences[-1].seeds
                found.append(f"{where_from(evidence, ours, seeds)}: {self.model} {_along(differences)}")
        return found


@dataclass(frozen=True)
class EverySeedBelow(Judge):
    """Every seed's final loss is below the stated value, or below the mean of a baseline's where one is named."""

    model: str
    row: str
    baseline: str | None = None
    baseline_row: str | None = None

    def fault(self, claim: Claim) -> str | None:
        return None if claim.values or self.baseline else "it needs a value or a baseline to be below"

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim.table, claim.protocol.corpus)
        ours = runs_of(runs, self.model, self.row)
        groups = [ours] if self.baseline is None else [ours, runs_of(runs, self.baseline, self.baseline_row)]
        if missing := verdict_if_missing(*groups):
            return missing
        losses = final_losses(ours)
        limit = claim.values[0].value if self.baseline is None else statistics.mean(final_losses(groups[1]).values())
        below = sum(loss < limit for loss in losses.values())
        status = "reproduced" if below == len(losses) else "not reproduced"
        range_ = f"{min(losses.values()):.4f} to {max(losses.values()):.4f}"
        return Verdict(status, range_, f"{below} of {len(losses)} seeds below {limit:.4f}")

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            baseline = self.baseline or evidence.sweep.baseline
            ours = runs_of(evidence.runs, self.model, self.row)
            losses, theirs = final_losses(ours), final_losses(runs_of(evidence.runs, baseline, self.baseline_row))
            if losses and theirs:
                mean = statistics.mean(theirs.values())
                below = sum(loss < mean for loss in losses.values())
                text = f"{self.model} below the {baseline}'s mean at equal length in {below} of {len(losses)}"
                found.append(f"{where_from(evidence, ours)}: {text}")
        return found


@dataclass(frozen=True)
class FinalDifference(Judge):
    """The final difference to the baseline lies on a side, interval and all; `level`: within ± the tolerance, likewise.

    With a tolerance, a difference on a side also has to be within it of the difference of the two stated values.
    """

    model: str
    baseline: str
    row: str
    side: Side
    baseline_row: str | None = None

    def fault(self, claim: Claim) -> str | None:
        if self.side == "level":
            return None if claim.tolerance else "side level needs a tolerance"
        return "a tolerance needs two values" if claim.tolerance and len(claim.values) < 2 else None

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim.table, claim.protocol.corpus)
        ours, theirs = runs_of(runs, self.model, self.row), runs_of(runs, self.baseline, self.baseline_row or self.row)
        if missing := verdict_if_missing(ours, theirs):
            return missing
        difference = paired(final_losses(ours), final_losses(theirs))
        assert difference is not None, "lacking() refuses runs without a record"
        half = difference.half or 0.0
        if self.side == "level":
            assert claim.tolerance is not None, "fault() refuses a claim without"
            holds = difference.half is not None and abs(difference.mean) + half <= claim.tolerance
            told = (
                "within"
                if holds
                else "outside"
                if abs(difference.mean) - half > claim.tolerance
                else "not wholly within"
            )
            why = f"its interval is {told} ± {claim.tolerance:g}"
        else:
            holds, why = difference.verdict == self.side, f"{difference.verdict}, where {self.side} is claimed"
            if claim.tolerance:
                away = difference.mean - (claim.values[0].value - claim.values[1].value)
                holds, why = holds and abs(away) <= claim.tolerance, f"{why}; {away:+.4f} from the stated difference"
        return Verdict("reproduced" if holds else "not reproduced", str(difference), f"{why}; {difference.seeds} seeds")

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            ours = runs_of(evidence.runs, self.model, self.row)
            difference = paired(
                final_losses(ours), final_losses(runs_of(evidence.runs, self.baseline, self.baseline_row or self.row))
            )
            if difference is not None:
                where = where_from(evidence, ours, difference.seeds)
                found.append(f"{where}: {self.model} {_against(difference, self.baseline)}")
        return found


@dataclass(frozen=True)
class LadderBelow(Judge):
    """At each of the scales the final paired difference to the baseline is below zero, interval and all."""

    model: str
    baseline: str
    scales: tuple[str, ...]

    def verdict(self, claim: Claim, sources: Sources) -> Verdict:
        runs = sources.own(claim.table, claim.protocol.corpus)
        groups = [runs_of(runs, model, scale=scale) for scale in self.scales for model in (self.model, self.baseline)]
        if missing := verdict_if_missing(*groups):
            return missing
        differences = {
            scale: paired(
                final_losses(runs_of(runs, self.model, scale=scale)),
                final_losses(runs_of(runs, self.baseline, scale=scale)),
            )
            for scale in self.scales
        }
        sides = {scale: difference.verdict if difference else "not run" for scale, difference in differences.items()}
        status = "reproduced" if set(sides.values()) == {"below"} else "not reproduced"
        ours = ", ".join(f"{scale} {difference}" for scale, difference in differences.items())
        return Verdict(status, ours, ", ".join(f"{scale} {side}" for scale, side in sides.items()))

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(claim.table):
            for scale in dict.fromkeys(run.config.scale.name for run in evidence.runs):
                ours = runs_of(evidence.runs, self.model, scale=scale)
                difference = paired(
                    final_losses(ours), final_losses(runs_of(evidence.runs, self.baseline, scale=scale))
                )
                if difference is not None:
                    where = where_from(evidence, ours, difference.seeds)
                    found.append(f"{where}: {self.model} {_against(difference, self.baseline)}")
        return found


def by_checkpoint(ours: Sequence[Run], theirs: Sequence[Run]) -> list[Paired | None]:
    """The paired difference at each checkpoint of either model, in order, None where they share no seed.

    A checkpoint is a step and the bytes validated there.
    """
    found: dict[tuple[int, int], tuple[dict[int, float], dict[int, float]]] = {}
    for side, runs in enumerate((ours, theirs)):
        for run in runs:
            for row in run.record.rows("validation") if run.record else []:
                at = found.setdefault((row["step"], row["bytes"]), ({}, {}))
                at[side][run.seed] = row["bits_per_byte"]
    return [paired(*at) for _, at in sorted(found.items())]


def _along(differences: Sequence[Paired]) -> str:
    """`below at 3, not told apart at 3, above at 4 of 10 checkpoints; at the last +0.0816 ± 0.0363`."""
    sides = Counter(difference.verdict for difference in differences)
    counts = ", ".join(
        f"{side} at {n}" for side in ("below", "not told apart", "above", "one seed") if (n := sides[side])
    )
    return f"{counts} of {len(differences)} checkpoints; at the last {differences[-1]}" if differences else ""


def _against(difference: Paired, baseline: str) -> str:
    """`0.0816 ± 0.0363 above the transformer`, and where that is not told, so."""
    half = "" if difference.half is None else f" ± {difference.half:.4f}"
    side = "above" if difference.mean > 0 else "below"
    told = "" if difference.verdict == side else f" ({difference.verdict})"
    return f"{abs(difference.mean):.4f}{half} {side} the {baseline}{told}"
