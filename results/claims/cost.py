"""Claims about cost: set beside counts and measurements, not judged."""

from collections.abc import Callable
from typing import Literal

from configs.counted import counted
from results.claims.claim import Check, Stated, Text
from results.claims.sources import Sources, by_scale, runs_of
from results.evidence.layer_measurements import Measurement
from training.benchmarks.layers import FIT_FROM, LayerTiming, forward_flops, growth


class Flops(Check):
    """Floating-point operations of training per token, against the baseline of the same size; shown, not judged."""

    kind: Literal["flops"] = "flops"
    model: Text
    baseline: Text
    sweep: Text

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = []
        for evidence in sources.cpu_evidence(self.sweep):
            for scale, runs in by_scale(evidence.runs).items():
                ours, theirs = (
                    [run.record for run in runs_of(runs, model, model) if run.record]
                    for model in (self.model, self.baseline)
                )
                if ours and theirs:
                    ratio = ours[0].flops_per_token / theirs[0].flops_per_token
                    where = f"whole models of {scale} at N = {ours[0].config['data']['context']}"
                    text = f"{self.model} takes {ratio:.2f} times the {self.baseline}'s"
                    lines.append(f"{where}, matrix products of a training step: {text}")
        return lines


class LayerCost(Check):
    """Time, peak memory or forward FLOPs of layers against one or several baselines, at the greatest length of each
    protocol that was measured; shown, not judged. A layer or a baseline that was not measured is left out.
    """

    kind: Literal["layer_cost"] = "layer_cost"
    layers: list[Text]
    baselines: list[Text]
    quantity: Literal["time", "memory", "FLOPs"]

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        lines = []
        for group in sources.measured.layers:
            timings = {(t.layer, t.tokens): t for one in group for t in one.timings}
            for baseline in self.baselines:
                both = [(layer, n) for layer, n in timings if layer in self.layers and (baseline, n) in timings]
                if not both:
                    continue
                longest = max(n for _, n in both)
                ratios = {
                    layer: self._cost(group[0], timings[layer, longest])
                    / self._cost(group[0], timings[baseline, longest])
                    for layer in self.layers
                    if (layer, longest) in both
                }
                text = ", ".join(f"{layer} {ratio:.2f}" for layer, ratio in ratios.items())
                where = _shape(group[0]) if self.quantity == "FLOPs" else _where(group[0])
                lines.append(f"{where}, N = {longest:,}: {text} times {baseline}'s {self.quantity}")
        return list(dict.fromkeys(lines))  # FLOPs are the same on all devices

    def _cost(self, measured: Measurement, timing: LayerTiming) -> float:
        if self.quantity == "memory":
            return timing.peak_memory_bytes
        if self.quantity == "FLOPs":
            return forward_flops(timing.layer, measured.config["d_model"], measured.config["n_heads"], timing.tokens)
        # Ratios to the first layer are medians over the rounds of a pass; times of two passes do not compare.
        return timing.ratio


class Growth(Check):
    """b of the fit a N^b to the time or peak memory of layers; shown, not judged."""

    kind: Literal["growth"] = "growth"
    layers: list[Text]
    quantity: Literal["time", "memory"]

    def nearest(self, claim: Stated, sources: Sources) -> list[str]:
        quantity: Callable[[LayerTiming], float] = (
            (lambda t: t.seconds) if self.quantity == "time" else (lambda t: t.peak_memory_bytes)
        )
        lines = []
        for group in sources.measured.layers:
            timings = [timing for one in group for timing in one.timings]
            exponents = {layer: growth(timings, layer, quantity) for layer in self.layers}
            if text := ", ".join(f"{layer} N^{b:.2f}" for layer, b in exponents.items() if b is not None):
                lines.append(f"{_where(group[0])}, {self.quantity} from N = {FIT_FROM:,} on: {text}")
        return lines


def _where(measured: Measurement) -> str:
    passes = "forward and backward" if measured.config["backward"] else "forward alone"
    return f"{measured.where}, {_shape(measured)}, {passes}"


def _shape(measured: Measurement) -> str:
    return f"width {measured.config['d_model']}, {counted(measured.config['n_heads'], 'head')}"
