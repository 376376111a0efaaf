"""What a run adds to its training steps: loading, Lightning's hooks, the schedule, measuring, logging.

The steps of a whole run against the same model's bare steps, in turn within one process.
"""

import contextlib
import io
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from configs.compose import compose
from configs.schema import BenchmarkConfig, RunConfig
from training.benchmarks.steps import first_steps, seconds_of, training_step
from training.run import run
from training.run_record.device import require_cuda

ROWS = 6  # of the log of a run, each of which is timed
# Steps of a run in one round: as many as take SECONDS, within these bounds.
FEWEST, MOST, SECONDS = 12, 120, 3.0
CORPUS = 1_000_000  # bytes of letters drawn at random


@dataclass(frozen=True)
class LoopTiming:
    """One model. `steps`: of a run in one round. `overhead_seconds`: median over rounds of a run's step less a bare one
    of the same round.
    """

    model: str
    steps: int
    run_seconds: float  # median over rounds of a step of a run
    step_seconds: float  # likewise of a bare step
    overhead_seconds: float


def measure_loop(config: BenchmarkConfig, on_round: Callable[[int], None] = lambda done: None) -> list[LoopTiming]:
    """Train each model for some steps in each of `config.rounds` rounds, and take as many bare steps.

    UserError for CUDA asked for and absent.
    """
    if config.device == "cuda":
        require_cuda("device", "device=cpu")
    torch.set_float32_matmul_precision("high")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    steps = {name: training_step(config, name)[0] for name in config.models}
    for step in steps.values():
        first_steps(step)
    counts = {name: steps_of_a_run(seconds_of(step)) for name, step in steps.items()}
    of_runs: dict[str, list[float]] = {name: [] for name in config.models}
    of_steps: dict[str, list[float]] = {name: [] for name in config.models}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_bytes(bytes(torch.randint(97, 123, (CORPUS,), generator=torch.Generator().manual_seed(0)).tolist()))
        for done in range(config.rounds):
            for name, step in steps.items():
                n = counts[name]
                whole = run_config(config, name, n, text, Path(folder) / f"{name}-{done}")
                of_runs[name].append(seconds_of_a_step(whole))
                of_steps[name].append(statistics.median(seconds_of(step) for _ in range(n)))
            on_round(done + 1)
    return [
        LoopTiming(
            name,
            counts[name],
            statistics.median(of_runs[name]),
            statistics.median(of_steps[name]),
            statistics.median(a - b for a, b in zip(of_runs[name], of_steps[name], strict=True)),
        )
        for name in config.models
    ]


def steps_of_a_run(seconds: float) -> int:
    """How many steps of so many seconds a run has, a multiple of ROWS."""
    n = max(FEWEST, min(MOST, int(SECONDS / seconds)))
    return n - n % ROWS


def run_config(config: BenchmarkConfig, name: str, n_steps: int, text: Path, folder: Path) -> RunConfig:
    """A run of `n_steps` steps of the benchmark's batches, which validates at its end alone."""
    threads = "null" if config.threads is None else config.threads
    composed = compose(
        "train",
        [
            *(f"model={name}", "data=text", f"data.path={text}", f"data.cache_dir={text.parent}"),
            *(f"data.context={config.context}", f"batch_size={config.batch_size}", f"precision={config.precision}"),
            *(f"compile={str(config.compile).lower()}", "logger=none", f"run_dir={folder}"),
            *(f"trainer.max_steps={n_steps}", f"trainer.val_every={n_steps}", f"trainer.checkpoint_every={n_steps}"),
            *(f"trainer.log_every={n_steps // ROWS}", "trainer.val_bytes=1024", "trainer.last_val_bytes=1024"),
            *("trainer.progress=false", f"trainer.threads={threads}", f"trainer.accelerator={config.device}"),
        ],
    )
    return replace(composed, scale=config.scale)


def seconds_of_a_step(config: RunConfig) -> float:
    """Median over the rows of a run's log, the first left out, of the seconds of a step."""
    with contextlib.redirect_stdout(io.StringIO()):
        record = run(config)
    assert record is not None
    speeds = [row["tokens_per_second"] for row in record.rows("train")[1:]]
    return config.batch_size * config.data.context / statistics.median(speeds)
