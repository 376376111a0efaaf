"""One of a run's splits or another text, as `eval.py` evaluates it: opened, evaluated with a progress bar, recorded."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from configs.command import can_draw
from configs.counted import counted
from configs.errors import UserError
from configs.heartbeat import doing, mute
from configs.schema import EvaluationConfig
from data.other_text import OtherText, read_text
from data.split import Split
from data.tokenizers import WordTokenizer
from measures.word_perplexity import words_in
from training.attention_backend import evaluated_by
from training.run_record.trained_run import TrainedRun, open_run

Result = TypeVar("Result")

OTHER_TEXT = "text"  # `split` of an entry that is of none


@dataclass(frozen=True)
class SplitEvaluation:
    run: TrainedRun
    config: EvaluationConfig
    split: Split
    text: np.ndarray  # (n,) uint8, the bytes behind its tokens
    counts_words: bool  # whether the loss is told by word too
    context: int  # tokens a window holds
    other: OtherText | None = None  # in place of a split

    @property
    def name(self) -> str:
        """What is evaluated: a split, or a file."""
        return self.config.split if self.other is None else self.other.name

    @property
    def of_words(self) -> bool:
        """Whether the tokens are words."""
        return isinstance(self.run.tokenizer, WordTokenizer)

    def go(self, measure: Callable[..., Result], **more: Any) -> Result:
        """What `measure` finds, which takes the arguments of `measures.loss.evaluate`, and `more` of them."""
        asked, precision = self.config, self.run.config.precision
        with progress_of(self.name) as on_progress:
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
        entry: dict[str, Any] = {
            "split": self.config.split if self.other is None else OTHER_TEXT,
            "checkpoint": self.run.checkpoint.name,
            "step": self.run.step,
            "context": self.context,
            "max_bytes": self.config.max_bytes,
        }
        if self.other is not None:
            entry["text"] = {
                "name": self.other.name,
                "sha256": self.other.sha256,
                "bytes": len(self.text),
                "words": words_in(self.text),
            }
        return entry | evaluated_by(self.run.model, next(self.run.model.parameters()).device.type)


@contextlib.contextmanager
def progress_of(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr, else heartbeat lines. Call what it yields with how much is done, and how
    much there is.
    """
    if not can_draw():
        yield lambda done, total: doing(f"{name}: {done:,}/{total:,}")
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name)
        mute(True)
        try:
            yield lambda done, total: progress.update(bar, completed=done, total=total)
        finally:
            mute(False)


def require_top_k(run: TrainedRun, context: int) -> None:
    """UserError where a context is shorter than what a head of the run picks from."""
    top_k = getattr(run.config.model, "top_k", None)
    if top_k is not None and top_k > context:
        raise UserError(
            f"context={context} is shorter than the run's model.top_k={top_k}; type context={top_k} or more"
        )


def open_split(config: EvaluationConfig) -> SplitEvaluation:
    """The run and the split, or the other text, that are asked for. UserError as of `open_run` and `read_text`, and for
    a context longer than the text or shorter than what a head of the run picks from.
    """
    assert config.run is not None  # checked with the config
    run = open_run(config.run, config.checkpoint, config.device, config.ssa.backend, config.average)
    context = config.context or run.config.data.context
    if config.data.text is not None:
        other = read_text(config.data.text, run.tokenizer, "data.text")
        opened = SplitEvaluation(run, config, other.split, other.content, True, context, other)
        if opened.of_words and config.data.words is not None:
            raise UserError("data.words= changes nothing for a run whose tokens are the words; leave it out")
        called = other.name
    else:
        corpus = run.corpus(config.data)
        split = corpus.split(config.split)
        opened = SplitEvaluation(run, config, split, corpus.text(config.split), corpus.counts_words, context)
        called = f"the {config.split} split"
    if context > len(opened.split):
        shorter = f"; type context={len(opened.split)} or less" if len(opened.split) > 1 else ""
        raise UserError(f"context={context} is longer than {called}, {counted(len(opened.split), 'token')}{shorter}")
    if config.stride is not None and config.stride > context:
        raise UserError(
            f"stride={config.stride} is longer than the context of {context}: tokens would be left out; "
            f"type stride={context} or less"
        )
    require_top_k(run, context)
    return opened
