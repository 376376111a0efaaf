"""Time and memory side by side: `python bench.py` of training steps,
`python bench.py task=layers` of attention layers, `task=inference` of evaluation and decoding, `task=translation` of
translators, `task=scaling` of training steps against length, width and parameters, `task=loop` of what a run adds to
its steps.

Keys are written in configs/schema.py.
"""

import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Torch's profiler, which counts memory, is told to be quiet at import: of what was allocated before it, for example.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

from configs.command import can_draw
from configs.counted import counted
from configs.entry import entry_point
from configs.heartbeat import beating, doing, duration
from configs.schema import BenchmarkConfig


@entry_point("bench")
def main(config: BenchmarkConfig) -> None:
    from data.atomic_write import make_parent
    from training.out_of_memory import of_benchmark, out_of_memory_named

    for path in (config.output, config.figure):
        if path is not None:
            make_parent(Path(path))  # before minutes of measuring, not after
    with out_of_memory_named(lambda _: of_benchmark(config)):
        tasks = {
            "steps": steps,
            "layers": layers,
            "inference": inference,
            "translation": translation,
            "scaling": scaling,
            "loop": loop,
        }
        tasks[config.task](config)


def steps(config: BenchmarkConfig) -> None:
    """Training steps of models, and the loading of a batch."""
    from results.document import markdown
    from training.benchmarks.steps import loading_seconds, measure

    with rounds(config) as done:
        loading = loading_seconds(config)
        timings = measure(config, done)
    print(
        f"Training steps of {config.batch_size} x {config.context} bytes, scale={config.scale.name}, {config.device}, "
        f"precision {config.precision}, compile {str(config.compile).lower()}; {medians(config)}\n"
    )
    first = config.models[0]
    rows = [
        {
            "model": timing.model,
            "parameters": f"{timing.parameters:,}",
            "tokens/s": f"{timing.tokens_per_second:,.0f}",
            f"time / {first}": f"{timing.ratio:.2f}",
            "peak MiB": f"{timing.peak_memory_bytes / 2**20:,.0f}",
            **compiled(timing),
            "layers x width": timing.shape,
        }
        for timing in timings
    ]
    print(markdown(rows, left=("model", "layers x width")))
    quickest = min(timing.seconds for timing in timings)
    print(f"\nLoading a batch takes {1e3 * loading:.2f} ms, {loading / quickest:.2%} of the quickest step.")
    write(config, {"loading_seconds": loading, "timings": [asdict(timing) for timing in timings]})


def compiled(timing: Any) -> dict[str, str]:
    """What compilation brings, and what it takes."""
    if timing.gain is None:
        return {}
    return {"not compiled / compiled": f"{timing.gain:.2f}", "compiling s": f"{timing.compile_seconds:.0f}"}


def inference(config: BenchmarkConfig) -> None:
    """Evaluation, the reading of prompts and cached decoding of language models."""
    from results.document import markdown
    from training.benchmarks.inference import measure_inference

    with rounds(config) as done:
        timings = measure_inference(config, done)
    print(
        f"Inference at scale={config.scale.name}, {config.device}, precision {config.precision}: the loss in passes of "
        f"{config.batch_size} x {config.context} bytes; as many of prompts read in one pass and as many written, "
        f"{config.batch_size} texts at once, with caches; medians of {config.rounds} rounds\n"
    )
    first = config.models[0]
    rows = [
        {
            "model": timing.model,
            "parameters": f"{timing.parameters:,}",
            "evaluated tokens/s": f"{timing.evaluated_per_second:,.0f}",
            f"evaluation / {first}": f"{timing.evaluation_ratio:.2f}",
            "read tokens/s": f"{timing.read_per_second:,.0f}",
            f"reading / {first}": f"{timing.reading_ratio:.2f}",
            "decoded tokens/s": f"{timing.decoded_per_second:,.0f}",
            f"decoding / {first}": f"{timing.decoding_ratio:.2f}",
            "layers x width": timing.shape,
        }
        for timing in timings
    ]
    print(markdown(rows, left=("model", "layers x width")))
    write(config, {"timings": [asdict(timing) for timing in timings]})


def translation(config: BenchmarkConfig) -> None:
    """Training steps of translators, and beam search."""
    from results.document import markdown
    from training.benchmarks.translation import BEAM, LONGEST, SEARCHED, measure_translation

    with rounds(config) as done:
        timings = measure_translation(config, done)
    print(
        f"Translators at scale={config.scale.name}, vocabulary {config.vocabulary:,}, {config.device}, "
        f"precision {config.precision}; training steps of {counted(config.batch_size, 'pair')} of "
        f"{config.context} tokens; beam search, beam {BEAM}, of {SEARCHED} sentences to {LONGEST} tokens; "
        f"{medians(config)}\n"
    )
    first = config.models[0]
    rows = [
        {
            "model": timing.model,
            "parameters": f"{timing.parameters:,}",
            "tokens/s": f"{timing.tokens_per_second:,.0f}",
            f"step / {first}": f"{timing.ratio:.2f}",
            "sentences/s": f"{timing.sentences_per_second:,.1f}",
            f"search / {first}": f"{timing.search_ratio:.2f}",
            "uncached / cached": f"{timing.uncached_ratio:.1f}",
            "layers x width": timing.shape,
        }
        for timing in timings
    ]
    print(markdown(rows, left=("model", "layers x width")))
    write(config, {"timings": [asdict(timing) for timing in timings]})


def layers(config: BenchmarkConfig) -> None:
    """Forward and backward of attention layers against length."""
    from results.document import markdown
    from results.figures.layers import plot_layers
    from training.benchmarks.layers import measure_layers, memory_exponent

    with rounds(config) as done:
        timings = measure_layers(config, done)
    first = config.layers[0]
    print(
        f"Attention layers, forward{' and backward' if config.backward else ' alone'} of 1 x N x {config.d_model}, "
        f"{counted(config.n_heads, 'head')}, {config.device}; {medians(config)}; ratios to {first}\n"
    )
    memory = {t.tokens: t.peak_memory_bytes for t in timings if t.layer == first}
    rows = [
        {
            "layer": t.layer,
            "N": f"{t.tokens:,}",
            "ms": f"{1e3 * t.seconds:,.1f}",
            "tokens/s": f"{t.tokens / t.seconds:,.0f}",
            f"time / {first}": f"{t.ratio:.2f}",
            "peak MiB": f"{t.peak_memory_bytes / 2**20:,.1f}",
            f"memory / {first}": f"{t.peak_memory_bytes / memory[t.tokens]:.2f}",
        }
        for t in timings
    ]
    print(markdown(rows, left=("layer",)))
    exponents = {name: memory_exponent(timings, name) for name in config.layers}
    if any(exponents.values()):
        print("\nPeak memory grows as N to the power of (from 1,024 tokens on):")
        print(", ".join(f"{name} {b:.2f}" for name, b in exponents.items() if b is not None))
    write(config, {"timings": [asdict(timing) for timing in timings], "memory_exponents": exponents})
    if config.figure is not None:
        print("\n" + ", ".join(str(file) for file in plot_layers(timings, Path(config.figure))))


def scaling(config: BenchmarkConfig) -> None:
    """Training steps against the length of windows, the width and the parameters."""
    from results.document import markdown
    from training.benchmarks.scaling import measure_scaling

    with rounds(config) as done:
        points = measure_scaling(config, done)
    tokens, first = config.batch_size * config.context, config.models[0]
    print(
        f"Training steps of {tokens:,} tokens, {config.device}, precision {config.precision}; axes meet at scale="
        f"{config.scale.name} and {config.context} tokens a window; {medians(config)}\n"
    )
    rows = [
        {
            "axis": point.axis,
            "at": f"{point.value:,}",
            "model": point.model,
            "parameters": f"{point.parameters:,}",
            "tokens/s": f"{tokens / point.seconds:,.0f}",
            f"time / {first}": f"{point.ratio:.2f}",
            "memory MiB": f"{point.memory_bytes / 2**20:,.0f}",
            "MFLOPs per token": f"{point.flops_per_token / 1e6:,.2f}",
            "layers x width": point.shape,
        }
        for point in points
    ]
    print(markdown(rows, left=("axis", "model", "layers x width")))
    write(config, {"points": [asdict(point) for point in points]})


def loop(config: BenchmarkConfig) -> None:
    """What a run adds to its training steps."""
    from results.document import markdown
    from training.benchmarks.loop import measure_loop

    with rounds(config) as done:
        timings = measure_loop(config, done)
    print(
        f"Runs of {config.batch_size} x {config.context} bytes a step, scale={config.scale.name}, {config.device}, "
        f"precision {config.precision}, and as many bare steps; {medians(config)}\n"
    )
    rows = [
        {
            "model": timing.model,
            "steps": str(timing.steps),
            "step of a run, ms": f"{1e3 * timing.run_seconds:.2f}",
            "bare step, ms": f"{1e3 * timing.step_seconds:.2f}",
            "added, ms": f"{1e3 * timing.overhead_seconds:.2f}",
        }
        for timing in timings
    ]
    print(markdown(rows, left=("model",)))
    write(config, {"timings": [asdict(timing) for timing in timings]})


def medians(config: BenchmarkConfig) -> str:
    """What the numbers of a table are."""
    return f"medians of {counted(config.rounds, 'round')}"


@contextmanager
def rounds(config: BenchmarkConfig) -> Any:
    """A progress bar over rounds; what it yields is told how many are done."""
    from rich.console import Console
    from rich.progress import Progress

    first: list[float] = []  # when the first round was done
    with Progress(console=Console(stderr=True), transient=True, disable=not can_draw()) as progress:
        bar = progress.add_task(counted(config.rounds, "round"), total=config.rounds)

        def on_round(done: int) -> None:
            progress.update(bar, completed=done)
            if done == 1:
                first.append(time.monotonic())  # what came before is set-up, for the most part
            left = (time.monotonic() - first[0]) / (done - 1) * (config.rounds - done) if done > 1 else None
            doing(f"{done} of {counted(config.rounds, 'round')}" + (f" · {duration(left)} left" if left else ""))

        with beating(not can_draw()):
            on_round(0)
            yield on_round


def write(config: BenchmarkConfig, result: dict[str, Any]) -> None:
    """The result with what it was measured on, into `output`, if that was asked for."""
    import torch

    from data.atomic_write import write_atomically
    from training.run_record.environment import cpu_name, git, versions

    if config.output is None:
        return
    made_with = {
        "config": asdict(config) | {"output": None, "figure": None},
        "device": cpu_name() if config.device == "cpu" else torch.cuda.get_device_name(),
        "versions": versions(),
        "git": asdict(git()),
    }
    write_atomically(Path(config.output), (json.dumps(made_with | result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
