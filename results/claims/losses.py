"""Claims about validation losses, judged from run records. All are in bits per byte, here the same as per character."""

from collections.abc import Sequence
from typing import Literal

from configs.counted import counted
from measures.statistics import Estimate, difference_over_seeds, mean_over_seeds, shown_mean
from results.claims.claim import Judge, Stated, Text
from results.claims.comparison import Comparison
from results.claims.sources import Sources, by_scale, final_losses, runs_of, verdict_if_missing, where_from
from results.claims.verdict import Verdict, side_of_band, status_of
from results.evidence.runs import Run


class FinalLevel(Judge):
    """The mean of a model's final losses is within the tolerance of the stated value, with its whole interval.

    Final losses are of windows that reset the context, so a level that was measured with sliding windows has no judge.
    """

    kind: Literal["level"] = "level"
    model: Text
    row: Text

    def fault(self, claim: Stated) -> str | None:
        protocol = claim.protocol
        if protocol.context is None or protocol.batch is None or protocol.windows != "reset":
            return "a level is judged only where its protocol states context, batch and windows: reset; else hindered"
        return None if claim.values and claim.tolerance else "a level needs a value and a tolerance"

    def verdict(self, claim: Stated, sources: Sources) -> Verdict:
        runs = runs_of(sources.protocol_runs(claim.table, claim.protocol.corpus), self.model, self.row)
        if missing := verdict_if_missing(runs):
            return missing
        configs = [run.record.config for run in runs if run.record is not None]
        if {(c["data"]["context"], c["batch_size"]) for c in configs} != {
            (claim.protocol.context, claim.protocol.batch)
        }:
            return Verdict("not run", "", "recorded with another context or batch than the source's")
        assert claim.tolerance is not None, "fault() refuses a claim without"
        mean, stated = mean_over_seeds(list(final_losses(runs).values())), claim.values[0].value
        side = side_of_band(mean, stated, claim.tolerance)
        why = f"{mean.value - stated:+.4f} from the stated value, {side} its tolerance of {claim.tolerance:g}"
        return Verdict(status_of([side], "within"), mean.shown(), f"{why}; {counted(len(runs), 'seed')}")

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = []
        for evidence in sources.cpu_evidence(claim.table):
            runs = [run for run in runs_of(evidence.runs, self.model, self.row) if run.record]
            if losses := final_losses(runs):
                lines.append(f"{where_from(evidence, runs)}: {self.model} {shown_mean(losses, len(losses))}")
        return lines


class EveryCheckpoint(Comparison):
    """The difference at every checkpoint that either model was validated at."""

    kind: Literal["every_checkpoint"] = "every_checkpoint"
    unit = "checkpoint"

    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        losses: dict[tuple[int, int], tuple[list[float], list[float]]] = {}  # by step and bytes validated there
        for side, runs in enumerate((ours, theirs)):
            for run in runs:
                for row in run.record.rows("validation") if run.record else []:
                    losses.setdefault((row["step"], row["bytes"]), ([], []))[side].append(row["bits_per_byte"])
        return {
            f"step {step:,} on {length:,} bytes": difference_over_seeds(*both)
            if (len(both[0]), len(both[1])) == (len(ours), len(theirs))
            else None
            for (step, length), both in sorted(losses.items())
        }


class EverySeed(Comparison):
    """Each seed's final loss less the mean of the baseline's, with the 95 % interval of that mean."""

    kind: Literal["every_seed"] = "every_seed"
    unit = "seed"

    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        limit = mean_over_seeds(list(final_losses(theirs).values()))
        losses = final_losses(ours).items()
        return {f"seed {seed}": Estimate(loss - limit.value, limit.half_width) for seed, loss in losses}


class FinalDifference(Comparison):
    """The difference of the final losses."""

    kind: Literal["difference"] = "difference"
    unit = "difference"

    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        return {"at the end": _final_difference(ours, theirs)}


class Ladder(Comparison):
    """The difference of the final losses at each of the scales."""

    kind: Literal["ladder"] = "ladder"
    scales: list[Text]
    unit = "scale"

    def wanted(self, runs: Sequence[Run]) -> list[Run]:
        return [run for run in runs if run.config.scale.name in self.scales]

    def estimates(self, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Estimate | None]:
        rivals = by_scale(theirs)
        return {scale: _final_difference(runs, rivals.get(scale, [])) for scale, runs in by_scale(ours).items()}


def _final_difference(ours: Sequence[Run], theirs: Sequence[Run]) -> Estimate | None:
    return difference_over_seeds(list(final_losses(ours).values()), list(final_losses(theirs).values()))
