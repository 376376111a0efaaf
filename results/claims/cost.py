"""Claims about cost: set beside counts and measurements, not judged."""

from dataclasses import dataclass
from typing import Literal

from results.claims.claim import Check, Claim
from results.claims.sources import Sources, runs_of


@dataclass(frozen=True)
class Flops(Check):
    """Floating-point operations of training per token, against the baseline of the same size; told, not judged."""

    model: str
    baseline: str
    sweep: str

    def nearest(self, claim: Claim, sources: Sources) -> list[str]:
        found = []
        for evidence in sources.near(self.sweep):
            ours = [run.record for run in runs_of(evidence.runs, self.model, self.model) if run.record]
            theirs = [run.record for run in runs_of(evidence.runs, self.baseline, self.baseline) if run.record]
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
