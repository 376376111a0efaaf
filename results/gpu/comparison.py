"""The 30-epoch comparison of transformer and FSN at 1m: trainings that take turns, and what they came to so far."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.heartbeat import beating, doing
from configs.printable import in_one_line
from configs.sweeps import Job, Sweep, label_of
from data.sources import open_corpus
from data.windows import steps_per_epoch
from results.document import Row
from results.gpu.within_time import WithinTime
from training.run_record.record import RunRecord, load_record
from training.run_record.run_directory import run_directory
from training.schedule import total_steps
from training.sweeps.own_process import TRAIN
from training.sweeps.swept_run import configured_jobs

ROW = "30 epochs"  # of the sweep's rows the one that is trained
# The models of a seed take turns, which end with so many whole epochs of each (our choice), and at the end of the run.
TURNS = (1, 2, 5, 10, 20)


@dataclass
class Training:
    """One run of the comparison. `per_epoch`, `total`: its steps; `tokens`: of a step."""

    label: str
    model: str
    seed: int
    job: Job
    folder: Path
    per_epoch: int
    total: int
    tokens: int
    failed: bool = False  # in this command

    @property
    def record(self) -> RunRecord | None:
        """None where there is none that can be read: a run that begins says why."""
        try:
            return load_record(self.folder)
        except UserError:
            return None

    @property
    def losses(self) -> dict[int, float]:
        """Bits per byte of its validations, by step."""
        record = self.record
        return {row["step"]: row["bits_per_byte"] for row in record.rows("validation")} if record else {}

    @property
    def validated(self) -> int:
        """The last step whose weights were validated."""
        return max(self.losses, default=0)

    @property
    def done(self) -> bool:
        record = self.record
        return record is not None and record.status == "done"

    @property
    def turns(self) -> list[int]:
        """The steps up to which it trains in each of its turns."""
        return [n * self.per_epoch for n in TURNS if n * self.per_epoch < self.total] + [self.total]

    def reached(self, step: int) -> bool:
        """Whether it was validated there; at the end, whether it is done."""
        return self.done or self.validated >= step < self.total

    def told(self, step: int) -> str:
        """`5 of 30 epochs`, or steps where it has no whole epoch."""
        if self.total < self.per_epoch:
            return f"{step:,} of {self.total:,} steps"
        return f"{step / self.per_epoch:.3g} of {self.total / self.per_epoch:.3g} epochs"

    @property
    def seconds_a_token(self) -> float | None:
        """As it trained so far."""
        record = self.record
        return 1 / record.throughput.tokens_per_second if record and record.throughput.tokens_per_second else None


def trainings(sweep: Sweep) -> list[Training]:
    """The runs, those of a seed together, the data opened. UserError for data that is not there."""
    jobs = [job for job in sweep.jobs if job.row in (ROW, "")]
    found = []
    for job, config in configured_jobs(jobs):
        try:
            with beating():
                doing(f"opening the data, {config.data.name}")
                corpus = open_corpus(config.data)
        except UserError as error:
            raise UserError(f"{error} (with make DATA_PATH=FILE; for another text DATA=text too)") from None
        per_epoch = steps_per_epoch(corpus.tokens_per_split()["train"], config.data.context, config.batch_size)
        total, tokens = total_steps(config.trainer, per_epoch), config.batch_size * config.data.context
        name, label, folder = str(config.model.name), label_of(job, sweep.axes), run_directory(config)
        found.append(Training(label, name, config.seed, job, folder, per_epoch, total, tokens))
    return sorted(found, key=lambda training: training.seed)


def train(runs: Sequence[Training], time: WithinTime) -> None:
    """Train what is left, seed by seed, the models of a seed in turns, until the time is over."""
    for seed in dict.fromkeys(run.seed for run in runs):
        of_seed = [run for run in runs if run.seed == seed]
        for steps in zip(*(run.turns for run in of_seed), strict=True):
            for run, step in zip(of_seed, steps, strict=True):
                if not (run.failed or time.over or run.reached(step)):
                    train_to(step, run, time)


def train_to(step: int, run: Training, time: WithinTime) -> None:
    """One turn of a run: a process that goes on from the last checkpoint."""
    print(f"\n{run.label}: to {run.told(step)}", flush=True)
    command = [sys.executable, str(TRAIN), *run.job.overrides]
    code = time.run(command, lambda: step < run.total and run.reached(step))
    if code:
        run.failed = True
        print(in_one_line(f"failed: {run.label}: exit code {code}"), file=sys.stderr)


def seconds_left(runs: Sequence[Training]) -> float | None:
    """Of training, at the speed that each model had so far; None where one has none yet."""
    speeds: dict[str, list[float]] = {}
    for run in runs:
        speeds.setdefault(run.model, []).extend([s] if (s := run.seconds_a_token) else [])
    left = [(run.model, run.tokens * (run.total - run.validated)) for run in runs if not run.done]
    if not all(speeds[model] for model, _ in left):
        return None
    return sum(tokens * statistics.median(speeds[model]) for model, tokens in left)


def state(runs: Sequence[Training]) -> str:
    """How many runs are done, and how much of them all."""
    share = sum(run.total if run.done else run.validated for run in runs) / sum(run.total for run in runs)
    return f"{sum(run.done for run in runs)} of {len(runs)} runs, {share:.0%} of all steps"


def side_by_side(runs: Sequence[Training]) -> list[Row]:
    """A row for each seed: bits per byte where all of its models were validated after as many steps, the last time.

    Each is in the middle of its schedule there unless it is at the end: all are equally far in it.
    """
    rows = []
    for seed in dict.fromkeys(run.seed for run in runs):
        losses = {run.model: (run, run.losses) for run in runs if run.seed == seed}
        shared = set.intersection(*(set(of_run) for _, of_run in losses.values()))
        if not (step := max(shared, default=0)):
            continue
        run = next(iter(losses.values()))[0]
        row = {"seed": str(seed), "after": run.told(step)} | {
            name: f"{loss[step]:.4f}" for name, (_, loss) in losses.items()
        }
        if "transformer" in losses and len(losses) > 1:
            ours = {name: loss[step] - losses["transformer"][1][step] for name, (_, loss) in losses.items()}
            row |= {f"{name} - transformer": f"{d:+.4f}" for name, d in ours.items() if name != "transformer"}
        rows.append(row)
    return rows
