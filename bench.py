"""Time and memory of training steps, models side by side: `python bench.py`. Keys are written in configs/schema.py."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from configs.entry import entry_point
from configs.schema import BenchmarkConfig


@entry_point("bench")
def main(config: BenchmarkConfig) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from results.tables import markdown
    from training.benchmark import loading_seconds, measure
    from training.environment import cpu_name, git, versions

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(f"{config.rounds} rounds", total=config.rounds)
        loading = loading_seconds(config)
        timings = measure(config, lambda done: progress.update(bar, completed=done))
    print(
        f"Training steps of {config.batch_size} x {config.context} bytes, scale={config.scale.name}, {config.device}, "
        f"precision {config.precision}, compile {str(config.compile).lower()}; medians of {config.rounds} rounds\n"
    )
    first = config.models[0]
    rows = [
        {
            "model": timing.model,
            "parameters": f"{timing.parameters:,}",
            "tokens/s": f"{timing.tokens_per_second:,.0f}",
            f"time / {first}": f"{timing.ratio:.2f}",
            "peak MiB": f"{timing.peak_memory_bytes / 2**20:,.0f}",
            "layers x width": timing.shape,
        }
        for timing in timings
    ]
    print(markdown(rows, left=("model", "layers x width")))
    quickest = min(timing.seconds for timing in timings)
    print(f"\nLoading a batch takes {1e3 * loading:.2f} ms, {loading / quickest:.2%} of the quickest step.")
    if config.output is not None:
        result = {
            "config": asdict(config) | {"output": None},
            "device": cpu_name() if config.device == "cpu" else _cuda_name(),
            "versions": versions(),
            "git": asdict(git()),
            "loading_seconds": loading,
            "timings": [asdict(timing) for timing in timings],
        }
        Path(config.output).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _cuda_name() -> str:
    import torch

    return torch.cuda.get_device_name()


if __name__ == "__main__":
    main()
