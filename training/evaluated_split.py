"""One of a run's splits as `eval.py` evaluates it: opened, gone through with a bar on a terminal, recorded."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from configs.errors import UserError
from configs.schema import EvaluationConfig
from data.corpus import Corpus
from data.split import Split
from training.attention_backend import evaluated_by
from training.run_record.trained_run import TrainedRun, open_run

Result = TypeVar("Result")


@dataclass(frozen=True)
class SplitEvaluation:
    run: TrainedRun
    config: EvaluationConfig
    corpus: Corpus
    split: Split
    context: int  # tokens a window holds

    def go(self, measure: Callable[..., Result], **more: Any) -> Result:
        """What `measure` finds, which takes the arguments of `measures.loss.evaluate`, and `more` of them."""
        asked, precision = self.config, self.run.config.precision
        with progress_of(asked.split) as on_progress:
            return measure(
                self.run.model,
                self.split,
                self.context,
                asked.batch_size,
                asked.max_bytes,
                precision,
                on_progress=on_progress,
                **more,
            )

    def entry(self) -> dict[str, Any]:
        """What was evaluated, and how: where an entry of the record's `evaluations` begins."""
        entry = {
            "split": self.config.split,
            "checkpoint": self.run.checkpoint.name,
            "step": self.run.step,
            "context": self.context,
            "max_bytes": self.config.max_bytes,
        }
        return entry | evaluated_by(self.run.model, next(self.run.model.parameters()).device.type)


@contextlib.contextmanager
def progress_of(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's stderr: call what it gives with how much is done, and how much there is."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def require_top_k(run: TrainedRun, context: int) -> None:
    """UserError where a context is shorter than what a head of the run picks from."""
    top_k = getattr(run.config.model, "top_k", None)
    if top_k is not None and top_k > context:
        raise UserError(
            f"context={context} is shorter than the run's model.top_k={top_k}; type context={top_k} or more"
        )


def open_split(config: EvaluationConfig) -> SplitEvaluation:
    """The run and split that are asked for. UserError as of `open_run`, and for a context longer than the split
    or shorter than what a head of the run picks from.
    """
    assert config.run is not None  # checked with the config
    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend, config.average)
    corpus = run.corpus(config.data)
    split = corpus.split(config.split)
    context = config.context or run.config.data.context
    if context > len(split):
        raise UserError(f"context={context} is longer than the {config.split} split, {len(split):,} tokens")
    if config.stride is not None and config.stride > context:
        raise UserError(
            f"stride={config.stride} is longer than the context of {context}: tokens would be left out; "
            f"type stride={context} or less"
        )
    require_top_k(run, context)
    return SplitEvaluation(run, config, corpus, split, context)
