"""Training steps against the length of windows, the width and the parameters: time, memory and operations.

All steps take the same number of tokens, batch_size * context. Every axis goes through the models of `scale` in windows
of `context`: lengths with all else as it is; widths with their layers and heads, and a feed-forward in proportion;
parameters in the shapes that configs/model has for each scale. All points are measured in turn, in one process.
"""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import with_config
from torch import nn

from configs.compose import compose
from configs.counted import counted
from configs.schema import BenchmarkConfig, RunConfig
from measures.flops import flops_per_token
from measures.memory import training_memory
from training.benchmarks.steps import VOCABULARY_SIZE
from training.budget import resolve_shape
from training.build import build_model, parameter_groups, parameters_by_part
from training.run_record.device import require_cuda
from training.run_record.strict_json import Count, Number

WARM_UP = 2  # steps before the first round


@with_config(extra="forbid")
@dataclass(frozen=True)
class ScalingPoint:
    """A model at one place on an axis, which is context, width or parameters; `value`: there, of parameters what the
    scale promises. `ratio`: median over rounds of its time over that of the first model at the place.
    """

    model: str
    axis: str
    value: Count
    context: Count
    parameters: Count
    shape: str
    flops_per_token: Count  # forward and backward
    activation_bytes: Count  # what autograd saves of a step, as measures/memory.py counts it
    memory_bytes: Count  # with weights, gradients and the two moments of the optimizer
    seconds: Number  # median of a step
    ratio: Number


def measure_scaling(config: BenchmarkConfig, on_round: Callable[[int], None] = lambda done: None) -> list[ScalingPoint]:
    """Take `config.rounds` steps of every model at every place, in turn. Raises UserError for CUDA asked for and
    absent, and for a shape that cannot be.
    """
    if config.device == "cuda":
        require_cuda("device", "device=cpu")
    torch.set_float32_matmul_precision("high")  # as in training; a CPU takes no notice
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    axes = places(config)
    runs = {(name, place): at(place, name, config) for place in axes for name in config.models}
    shapes: dict[str, RunConfig] = {repr(run): run for run in runs.values()}  # the axes meet in one
    models = {key: build_model(run.model, VOCABULARY_SIZE) for key, run in shapes.items()}
    counted = {key: count(shapes[key], model, rows(config, shapes[key])) for key, model in models.items()}
    steps = {key: training_step(config, shapes[key], model) for key, model in models.items()}
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    seconds: dict[str, list[float]] = {key: [] for key in steps}
    for done in range(config.rounds):
        for place in axes:
            for key in (repr(runs[name, place]) for name in config.models):
                if len(seconds[key]) == done:  # not yet in this round
                    start = time.perf_counter()
                    steps[key]()
                    seconds[key].append(time.perf_counter() - start)
        on_round(done + 1)
    points = []
    for (name, (axis, value)), run in runs.items():
        own, first = seconds[repr(run)], seconds[repr(runs[config.models[0], (axis, value)])]
        ratio = statistics.median(ours / theirs for ours, theirs in zip(own, first, strict=True))
        points.append(
            ScalingPoint(
                *(name, axis, value, int(run.data.context)),
                **counted[repr(run)],
                seconds=statistics.median(own),
                ratio=ratio,
            )
        )
    return points


def places(config: BenchmarkConfig) -> list[tuple[str, int]]:
    """The places on the axes, in the order in which they are measured."""
    values = {"context": config.lengths, "width": config.widths, "parameters": [*map(budget, config.scales)]}
    return [(axis, value) for axis, of_axis in values.items() for value in of_axis]


@functools.cache
def budget(scale: str) -> int:
    """The parameters that a scale promises."""
    return int(compose("train", [f"scale={scale}"]).scale.parameters)


def at(place: tuple[str, int], name: str, config: BenchmarkConfig) -> RunConfig:
    """A model as it is trained at a place, its shape resolved."""
    axis, value = place
    scale, context = config.scale.name, config.context
    if axis == "parameters":
        scale = next(each for each in config.scales if budget(each) == value)
    elif axis == "context":
        context = value
    run = resolved(name, scale, context)
    if axis == "width":
        model = run.model
        ff_width = max(1, round(model.ff_width * value / model.width))
        run = replace(run, model=replace(model, width=value, ff_width=ff_width))
    return run


@functools.cache
def resolved(name: str, scale: str, context: int) -> RunConfig:
    """A model as it is trained at a scale; composing it takes a third of a second."""
    typed = [f"model={name}", f"scale={scale}", f"data.context={context}"]
    return resolve_shape(compose("train", typed), VOCABULARY_SIZE)


def count(run: RunConfig, model: nn.Module, n_rows: int) -> dict[str, Any]:
    """What a point has that is counted, of a model on the CPU."""
    shape = run.model
    heads = counted(shape.n_heads, "head")
    words = f"{shape.n_layers} x {shape.width}, {heads}, feed-forward {shape.ff_width}"
    memory = training_memory(model, n_rows, torch.zeros(1, run.data.context, dtype=torch.int64))
    return {
        "parameters": parameters_by_part(model)["total"],
        "shape": words,
        "flops_per_token": flops_per_token(model, run.data.context),
        "activation_bytes": memory.activations,
        "memory_bytes": memory.total,
    }


def training_step(config: BenchmarkConfig, run: RunConfig, model: nn.Module) -> Callable[[], None]:
    """Forward, backward and optimizer on random bytes, as those of training.benchmarks.steps."""
    torch.manual_seed(0)
    model = model.to(config.device)
    optimizer = torch.optim.AdamW(parameter_groups(model, run.optim), lr=1e-3, fused=True)
    tokens = torch.randint(0, VOCABULARY_SIZE, (2, rows(config, run), run.data.context), device=config.device)

    def step() -> None:
        with torch.autocast(config.device, torch.bfloat16, enabled=config.precision == "bf16"):
            logits = model(tokens[0])
        F.cross_entropy(logits.flatten(0, 1).float(), tokens[1].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        if config.device == "cuda":
            torch.cuda.synchronize()

    return step


def rows(config: BenchmarkConfig, run: RunConfig) -> int:
    """Windows of a step."""
    return config.batch_size * config.context // int(run.data.context)
