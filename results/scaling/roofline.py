"""Hours of the paper profile on an H100, by its roofline: the longer of arithmetic and of moving numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.sweeps import expand
from data.enwik8 import ENWIK8
from results.document import Row
from results.evidence.runs import COMMITTED, read_records
from results.evidence.scaling import along
from training.announce import PEAK
from training.benchmarks.scaling import ScalingPoint
from training.sweeps.swept_run import configured_jobs

BANDWIDTH = 3.35e12  # bytes a second, of the memory of an H100 SXM
# Bytes of memory traffic a parameter and step, in float32: read in both passes, its gradient written and read, AdamW's
# two moments and the parameter itself read and written.
A_PARAMETER = 4 * (2 + 2 + 4 + 2)
A_SAVED_BYTE = 2  # what autograd saves is written and read once
# Runs whose FLOPs per token differ by more have another form of the model, such as a former default (our choice).
SAME_FORM = 0.05


@dataclass(frozen=True)
class Hours:
    """Of the 30-epoch run of one model. `measured`: tokens a second of our fastest run in this form on an H100, or
    None, and `with_settings`, in words.
    """

    model: str
    tokens: float
    arithmetic: float
    traffic: float
    measured: float | None
    with_settings: str

    @property
    def roofline(self) -> float:
        return max(self.arithmetic, self.traffic)

    @property
    def at_measured(self) -> float | None:
        return None if self.measured is None else self.tokens / self.measured / 3600


def hours(points: Sequence[ScalingPoint], tokens_a_step: int) -> list[Hours]:
    """Of each model of the sweep, where it was measured at the scale of the paper profile.

    `tokens_a_step`: of the measurement; what autograd saves is proportional to them.
    """
    sweep = expand("fsn-enwik8", "paper")
    found = []
    records = [record for _, record in read_records([COMMITTED])[0] if "H100" in record.device.name]
    for _, config in configured_jobs([j for j in sweep.jobs if j.row == "30 epochs" and "seed=0" in j.overrides]):
        model = str(config.model.name)
        own = [p for p in along(points, "parameters", model) if p.value == config.scale.parameters]
        if not own or own[0].context != config.data.context:
            continue
        tokens = float(ENWIK8.split[0] * (config.trainer.max_epochs or 0))
        per_step = config.batch_size * config.data.context
        moved = A_PARAMETER * own[0].parameters + A_SAVED_BYTE * own[0].activation_bytes * per_step / tokens_a_step
        runs = [
            record
            for record in records
            if (record.config["model"]["name"], record.config["scale"]["name"]) == (model, config.scale.name)
            and math.isclose(record.flops_per_token, own[0].flops_per_token, rel_tol=SAME_FORM)
        ]
        fastest = max(runs, key=lambda record: record.throughput.tokens_per_second or 0, default=None)
        found.append(
            Hours(
                model,
                tokens,
                tokens * own[0].flops_per_token / PEAK["32"] / 3600,
                tokens / per_step * moved / BANDWIDTH / 3600,
                None if fastest is None else fastest.throughput.tokens_per_second,
                "" if fastest is None else _settings(fastest.config),
            )
        )
    return found


def _settings(config: Mapping[str, Any]) -> str:
    batch, context, precision = config["batch_size"], config["data"]["context"], config["precision"]
    words = [f"{batch} x {context}", "float32" if precision == "32" else precision]
    words += ["compiled"] if config["compile"] else []
    return ", ".join(words + (["CUDA graphs"] if config["trainer"].get("cuda_graphs") else []))


def hours_rows(found: Sequence[Hours]) -> list[Row]:
    """The table: hours of one run of 30 epochs."""
    return [
        {
            "model": each.model,
            "arithmetic": f"{each.arithmetic:.3f}",
            "memory traffic": f"{each.traffic:.3f}",
            "roofline": f"{each.roofline:.3f}",
            "our fastest run, tokens/s": "not run" if each.measured is None else f"{each.measured:,.0f}",
            "with": each.with_settings,
            "hours at that speed": "not run" if (at := each.at_measured) is None else f"{at:.1f}",
        }
        for each in found
    ]


def sweep_hours(found: Sequence[Hours]) -> tuple[float, float | None]:
    """Of all runs of the sweep, by the roofline and at the measured speeds: five seeds of 30 and of 50 epochs."""
    sweep = expand("fsn-enwik8", "paper")
    of_model = {each.model: each for each in found}
    totals = [0.0, 0.0]
    whole = True
    for _, config in configured_jobs(sweep.jobs):
        each = of_model.get(str(config.model.name))
        if each is None:
            continue
        share = ENWIK8.split[0] * (config.trainer.max_epochs or 0) / each.tokens
        totals[0] += share * each.roofline
        totals[1] += share * (each.at_measured or 0.0)
        whole = whole and each.at_measured is not None
    return totals[0], totals[1] if whole else None
