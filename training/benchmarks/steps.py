"""Time and memory of full training steps, models in turn within one process.

Machines drift: a model is compared with the first one round by round, and the median of those ratios is what to quote.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from configs.compose import compose
from configs.counted import counted
from configs.schema import BenchmarkConfig
from data.split import Split
from data.windows import steps_per_epoch, training_batch
from training.budget import resolve_shape
from training.build import build_model, parameter_groups, parameters_by_part
from training.compiler import compile_passes, require_compiler
from training.run_record.device import require_cuda
from training.run_record.environment import peak_resident_bytes

VOCABULARY_SIZE = 256
CORPUS_BYTES = 90_000_000  # of the file that batches are loaded from: the training split of enwik8
WARM_UP = 3  # steps before the first round: allocations, kernels, compilation


@dataclass(frozen=True)
class Timing:
    """One model's training step. `ratio`: median over rounds of its time over the first model's in the same round."""

    model: str
    parameters: int
    shape: str
    seconds: float  # median of a step
    tokens_per_second: float
    ratio: float
    peak_memory_bytes: int  # of tensors (cuda), or of a process of its own above one that only imported torch (cpu)
    # Of a compiled one: median over rounds of the time without compilation over that with it, and what compiling took.
    gain: float | None = None
    compile_seconds: float | None = None


def measure(config: BenchmarkConfig, on_round: Callable[[int], None] = lambda done: None) -> list[Timing]:
    """Take `config.rounds` steps of each model, in turn; with `compile` each also without it, in the same rounds.

    UserError for CUDA, or a compiler, asked for and absent.
    """
    if config.device == "cuda":
        require_cuda("device", "device=cpu")
    if config.compile:
        require_compiler(config.device)
    torch.set_float32_matmul_precision("high")  # as in training; a CPU takes no notice
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    memory = {name: peak_memory(config, name) for name in config.models}
    steps = {name: training_step(config, name) for name in config.models}
    eager = {name: training_step(replace(config, compile=False), name) for name in config.models if config.compile}
    compiling = {name: first_steps(step) for name, (step, _, _) in steps.items()}
    for step, _, _ in eager.values():
        first_steps(step)
    seconds: dict[str, list[float]] = {name: [] for name in config.models}
    without: dict[str, list[float]] = {name: [] for name in eager}
    for done in range(config.rounds):
        for name, (step, _, _) in steps.items():
            seconds[name].append(seconds_of(step))
            if name in eager:
                without[name].append(seconds_of(eager[name][0]))
        on_round(done + 1)
    first = seconds[config.models[0]]
    return [
        Timing(
            model=name,
            parameters=parameters,
            shape=shape,
            seconds=statistics.median(seconds[name]),
            tokens_per_second=config.batch_size * config.context / statistics.median(seconds[name]),
            ratio=ratio(seconds[name], first),
            peak_memory_bytes=memory[name],
            gain=ratio(without[name], seconds[name]) if config.compile else None,
            compile_seconds=compiling[name] if config.compile else None,
        )
        for name, (_, parameters, shape) in steps.items()
    ]


def seconds_of(action: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def first_steps(step: Callable[[], object]) -> float:
    """Warm up; by how many seconds the first call took longer than the last."""
    seconds = [seconds_of(step) for _ in range(WARM_UP)]
    return seconds[0] - seconds[-1]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over rounds of one time over another in the same round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def training_step(config: BenchmarkConfig, name: str) -> tuple[Callable[[], None], int, str]:
    """A model's training step on random bytes, its parameter count, and its shape in words."""
    run = resolve_shape(replace(compose("train", [f"model={name}"]), scale=config.scale), VOCABULARY_SIZE)
    torch.manual_seed(0)
    model = build_model(run.model, VOCABULARY_SIZE).to(config.device)
    optimizer = torch.optim.AdamW(parameter_groups(model, run.optim), lr=1e-3, fused=True)
    tokens = torch.randint(0, VOCABULARY_SIZE, (2, config.batch_size, config.context), device=config.device)
    if config.compile:
        with torch.no_grad():
            model(tokens[0, :1])  # makes tables of positions, as the look at the start of a run does
        compile_passes(model)

    def step() -> None:
        with torch.autocast(config.device, torch.bfloat16, enabled=config.precision == "bf16"):
            logits = model(tokens[0])
        F.cross_entropy(logits.flatten(0, 1).float(), tokens[1].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        if config.device == "cuda":
            torch.cuda.synchronize()

    heads = counted(run.model.n_heads, "head")
    shape = f"{run.model.n_layers} x {run.model.width}, {heads}, feed-forward {run.model.ff_width}"
    return step, parameters_by_part(model)["total"], shape


def loading_seconds(config: BenchmarkConfig) -> float:
    """Median time of making one training batch, next to which a step should be long.

    From a memory-mapped file as long as a real corpus but empty: what is timed is cutting windows, not the disk.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(CORPUS_BYTES)
        split = Split(np.memmap(file.name, dtype=np.uint8, mode="r"))
        seconds = []
        steps = steps_per_epoch(CORPUS_BYTES, config.context, config.batch_size)
        for count in range(WARM_UP + 100):
            start = time.perf_counter()
            training_batch(split, config.context, config.batch_size, seed=0, epoch=0, index=count % steps)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def peak_memory(config: BenchmarkConfig, name: str) -> int:
    """Bytes that training a model takes at its peak; on a CPU measured in a process of its own."""
    if config.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step, _, _ = training_step(config, name)
        step()
        step()
        return torch.cuda.max_memory_allocated() - before
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_resident_growth, (config, name))


def _resident_growth(config: BenchmarkConfig, name: str) -> int:
    """Growth of the process's highest resident size over what it was before the model."""
    torch.set_num_threads(config.threads or torch.get_num_threads())
    before = peak_resident_bytes()
    step, _, _ = training_step(config, name)
    step()
    step()
    return peak_resident_bytes() - before
