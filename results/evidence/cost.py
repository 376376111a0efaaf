"""What training a model costs beside the transformer, and its loss where both have cost the same.

Cost is FLOPs per token and the time of a training step. Where a model's token costs c times the transformer's, it is
taken after t / c tokens and the transformer after t, both on their own validation curves of one protocol, at the
largest t that both reach: nothing is extrapolated.
"""

import functools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.sweeps import Job
from measures.statistics import Estimate, difference_over_seeds
from results.evidence.curves import curve, loss_after
from results.evidence.runs import COMMITTED, NOT_RUNS
from results.evidence.settings import settings_of
from training.run_record.record import Device, RunRecord
from training.sweeps.swept_run import configured_jobs

# Most that the speeds of runs that differ in their seed alone may differ by, as a factor, to say anything (our choice).
STEADY = 1.2


@dataclass(frozen=True)
class Cost:
    """Of a token, over the transformer's. `time` is None where it was not measured; `benchmarked`: by steps of both in
    turn, not taken from the speed of the runs.
    """

    flops: float
    time: float | None
    benchmarked: bool


@dataclass(frozen=True)
class AtEqualCost:
    """The model's loss less the transformer's, over seeds, after `tokens` of the transformer's."""

    tokens: float
    difference: Estimate


def relative_cost(ours: Sequence[RunRecord], transformers: Sequence[RunRecord]) -> Cost:
    """The cost of runs that differ in the seed alone, relative to that of such runs of the transformer."""
    own, theirs = (statistics.median(run.flops_per_token for run in runs) for runs in (ours, transformers))
    flops = own / theirs
    if (ratio := _benchmarked(ours[0], transformers)) is not None:
        return Cost(flops, ratio, True)
    speeds = [[run.throughput.tokens_per_second for run in runs] for runs in (ours, transformers)]
    devices = {(run.device.kind, run.device.name, run.device.threads) for run in (*ours, *transformers)}
    if len(devices) > 1 or any(len(of_runs) < 2 or max(of_runs) > STEADY * min(of_runs) for of_runs in speeds):
        return Cost(flops, None, False)
    return Cost(flops, statistics.median(speeds[1]) / statistics.median(speeds[0]), False)


def at_equal_cost(
    ours: Sequence[RunRecord], transformers: Sequence[RunRecord], cost: float, n_bytes: int
) -> AtEqualCost | None:
    """The difference on so many bytes where a token of ours costs `cost` times the transformer's; None where a run was
    not validated on them, or not early enough.
    """
    own, others = ([curve(record, n_bytes) for record in records] for records in (ours, transformers))
    if not all([*own, *others]):
        return None
    end_of_ours, end_of_theirs = (min(points[-1][0] for points in curves) for curves in (own, others))
    if end_of_theirs <= cost * end_of_ours:
        tokens, tokens_of_ours = float(end_of_theirs), end_of_theirs / cost
    else:
        tokens, tokens_of_ours = cost * end_of_ours, float(end_of_ours)
    losses, their_losses = [loss_after(c, tokens_of_ours) for c in own], [loss_after(c, tokens) for c in others]
    known, theirs = ([loss for loss in of_runs if loss is not None] for of_runs in (losses, their_losses))
    difference = difference_over_seeds(known, theirs)
    if len(known + theirs) < len(own + others) or difference is None:
        return None
    return AtEqualCost(tokens, difference)


def _benchmarked(ours: RunRecord, transformers: Sequence[RunRecord]) -> float | None:
    """Median ratio of their step times in a committed benchmark of these very models, sizes and windows, made on the
    kind of device that trained a transformer: ours may have been trained on another.
    """
    for transformer in transformers:
        for benchmark in _benchmarks():
            ratios = [_ratio_in(benchmark, record, transformer.device) for record in (ours, transformer)]
            if ratios[0] is not None and ratios[1]:
                return float(ratios[0] / ratios[1])
    return None


def _ratio_in(benchmark: dict[str, Any], record: RunRecord, device: Device) -> float | None:
    """The record's model there, over the first model: of the same parameters and with a model's settings as it is by
    default, because a benchmark builds that.
    """
    config, name, scale = benchmark["config"], record.config["model"]["name"], record.config["scale"]["name"]
    same_place = (
        config["scale"]["name"] == scale
        and config["batch_size"] == record.config.get("batch_size")
        and config["context"] == record.config["data"]["context"]
        and (config["device"], benchmark["device"], config["threads"]) == (device.kind, device.name, device.threads)
        and (config["precision"], config["compile"])
        == (str(record.config.get("precision", "32")), record.config.get("compile", False))
    )
    for timing in benchmark["timings"] if same_place else ():
        if (timing["model"], timing["parameters"]) == (name, record.parameters["total"]):
            usual, own = _model_settings(name, scale), settings_of(record.config)
            return float(timing["ratio"]) if all(own.get(key) == value for key, value in usual.items()) else None
    return None


@functools.cache
def _model_settings(model: str, scale: str) -> dict[str, Any]:
    """The settings of a model that is built from defaults."""
    from configs.compose import config_dict

    ((_, config),) = configured_jobs([Job((f"model={model}", f"scale={scale}"))])
    return {key: value for key, value in settings_of(config_dict(config)).items() if key.startswith("model.")}


@functools.cache
def _benchmarks() -> list[dict[str, Any]]:
    """The committed measurements of training steps."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((COMMITTED / NOT_RUNS).glob("*.json"))]
    return [file for file in files if isinstance(file, dict) and file["config"].get("task", "steps") == "steps"]
