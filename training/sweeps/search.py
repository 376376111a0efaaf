"""A search of the learning rate that goes on where the grid of a sweep ends: Optuna proposes, runs answer.

Every model (every row and value of the other axes, except the seed) has a search of its own, of as many rates, so that
none is tuned with more care. What is proposed follows from the losses of the rates before and the seed alone: a search
that was stopped proposes the same again, finds those runs, and goes on. Our choice: a Gaussian process over the
logarithm of the rate, from half the least to twice the greatest of the grid.
"""

import importlib.util
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context

from configs.counted import counted
from configs.errors import UserError
from configs.search import SweeperConfig
from configs.sweeps import Job, Sweep
from training.sweeps.swept_run import SweptRun

KEY = "optim.lr"
BEYOND = 2.0  # how far from the grid's ends a rate may lie, as a factor
DIGITS = 2  # of a proposed rate: a difference of some per cent is within the noise

Runs = Sequence[SweptRun]


class Search:
    """The searches of a sweep, one for each model.

    Raises UserError where Optuna is not installed, and for a sweep whose runs do not differ in `KEY`.
    """

    def __init__(self, sweep: Sweep, config: SweeperConfig) -> None:
        if importlib.util.find_spec("optuna") is None:
            raise UserError(
                "sweeper=optuna is not installed: type .venv/bin/pip install -c constraints.txt -e '.[optuna]'"
            )
        if KEY not in sweep.axes:
            raise UserError(
                f"sweeper=optuna searches {KEY}, in which the runs of {sweep.name} do not differ; type "
                f"+sweeps=learning-rates, or several rates such as {KEY}=0.002,0.006"
            )
        self.config, self.axes = config, sweep.axes
        self.grid: dict[str, dict[float, list[Job]]] = {}  # model -> rate -> a job for each seed
        for job in sweep.jobs:
            self.grid.setdefault(self.model_of(job), {}).setdefault(rate_of(job), []).append(job)

    def propose(self, runs: Runs) -> list[Job]:
        """The next rate of every model, for each seed; of one whose runs are not all over, or that had its share, none.

        `runs`: all so far, those of the grid among them.
        """
        jobs: list[Job] = []
        for model, grid in self.grid.items():
            tried = self.losses(runs, model)
            known = {rate: loss for rate, loss in tried.items() if loss is not None}
            if len(known) < len(tried) or len(tried) >= len(grid) + self.config.trials:
                continue
            if all(map(math.isinf, known.values())):
                continue
            rate = proposal(known, min(grid) / BEYOND, max(grid) * BEYOND, self.config.seed)
            if rate is not None:
                jobs += [at_rate(job, rate) for job in next(iter(grid.values()))]
        return jobs

    def outcome(self, runs: Runs) -> str:
        """One line a model: its best rate so far, and why the search of it ended or waits."""
        return "\n".join(
            f"  {model or 'all runs'}: {self._so_far(self.losses(runs, model), model)}" for model in self.grid
        )

    def losses(self, runs: Runs, model: str) -> dict[float, float | None]:
        """By rate in the order of the runs, the mean over seeds of the final loss: infinity where a seed
        failed, None where one is not done.
        """
        by_rate: dict[float, list[float | None]] = {}
        for run in runs:
            if self.model_of(run.job) == model:
                # By its record: what a launcher could not start says nothing of the rate, and is made after a restart.
                loss = math.inf if run.record is not None and run.record.status == "failed" else None
                if run.state == "done" and run.record is not None and run.record.final is not None:
                    final = run.record.final
                    loss = float(final["bits_per_byte" if "bits_per_byte" in final else "nats"])  # of text, of strings
                by_rate.setdefault(rate_of(run.job), []).append(loss)
        return {
            rate: None if None in losses else statistics.mean(loss for loss in losses if loss is not None)
            for rate, losses in by_rate.items()
        }

    def model_of(self, job: Job) -> str:
        """The model of a job, by which its search is named: its row, and its value on each axis but rate and seed."""
        given = dict(text.split("=", 1) for text in job.overrides)
        values = [f"{axis}={given[axis]}" for axis in self.axes if axis not in (KEY, "seed")]
        return " ".join([job.row, *values] if job.row else values)

    def _so_far(self, tried: Mapping[float, float | None], model: str) -> str:
        known = {rate: loss for rate, loss in tried.items() if loss is not None and math.isfinite(loss)}
        beyond = len(tried) - len(self.grid[model])
        if len(known) < len(tried) and None in tried.values():
            end = f"{beyond} of {self.config.trials} rates beside the grid's are proposed, not all runs are done"
        elif not known:
            end = "no rate came to its end, so there is nothing to go on from"
        elif beyond < self.config.trials:
            end = f"after {beyond} of {self.config.trials} rates beside the grid's the next would be one that was tried"
        else:
            end = f"{counted(beyond, 'rate')} beside the grid's"
        if not known:
            return end
        best = min(known, key=lambda rate: known[rate])
        edge = ", at the edge of what was tried" if best in (min(tried), max(tried)) and len(tried) > 1 else ""
        return f"{KEY}={best:g} is best of {len(tried)}{edge}, {known[best]:.4f} bits per byte; {end}"


def proposal(tried: Mapping[float, float], low: float, high: float, seed: int) -> float | None:
    """The rate to try next, to `DIGITS` digits, between the bounds, which are rounded outward; None if all are tried.

    `tried`: rate -> loss; infinity for a run that failed, which counts as the worst that there is. At least one loss
    must be finite. Where the process would have again what was tried, the middle of a gap is taken: of the wider one
    beside the best rate, or of the widest.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    low, high = _rounded(low, ROUND_FLOOR), _rounded(high, ROUND_CEILING)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        KEY: optuna.distributions.FloatDistribution(low, high, log=True)
    }
    worst = max(filter(math.isfinite, tried.values()))
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed, n_startup_trials=1))
    study.add_trials(
        [
            optuna.trial.create_trial(params={KEY: rate}, distributions=space, value=min(loss, worst))
            for rate, loss in tried.items()
        ]
    )
    rate = _rounded(study.ask(space).params[KEY])
    if rate not in tried:
        return rate
    best = min(tried, key=lambda rate: tried[rate])
    points = sorted({low, *tried, high})
    gaps = sorted(itertools.pairwise(points), key=lambda gap: (best in gap, math.log(gap[1] / gap[0])), reverse=True)
    ends = [end for end in (low, high) if end not in tried]
    middles = [_rounded(math.sqrt(left * right)) for left, right in gaps]
    return next((rate for rate in [*middles, *ends] if rate not in tried), None)


def _rounded(rate: float, how: str = ROUND_HALF_EVEN) -> float:
    """To `DIGITS` digits."""
    return float(Context(prec=DIGITS, rounding=how).create_decimal(repr(rate)))


def rate_of(job: Job) -> float:
    """The learning rate that a job asks for. UserError for a text that is no positive number."""
    text = next(text.partition("=")[2] for text in job.overrides if text.startswith(f"{KEY}="))
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UserError(f"{KEY}={text}: is not a positive number, and a search needs one; type {KEY}=0.002,0.006")
    return rate


def at_rate(job: Job, rate: float) -> Job:
    """The same job at another rate."""
    return Job(tuple(f"{KEY}={rate!r}" if text.startswith(f"{KEY}=") else text for text in job.overrides), job.row)
