"""What a run trains on, by which step, and how it is validated: one entry per value of `task`."""

from collections.abc import Callable
from dataclasses import dataclass

from configs.schema import RunConfig
from data.language import LanguageData
from data.overlap import with_overlap
from data.sources import open_corpus
from training.language import LanguageModule
from training.step import TrainingModule
from training.validation import Validation


@dataclass(frozen=True)
class Task:
    """The parts of a task that are made from a config."""

    data: Callable[[RunConfig], LanguageData]
    module: type[TrainingModule]
    validation: Callable[[RunConfig, LanguageData, int], Validation]  # the last one: optimizer steps of the run


def language_data(config: RunConfig) -> LanguageData:
    """The corpus of `data` in batches. UserError for one that is not there, or cannot be cut as asked."""
    micro = config.trainer.micro_batch_size
    per_pass = None if micro is None else micro * config.trainer.devices
    corpus = with_overlap(open_corpus(config.data))
    return LanguageData(corpus, config.data.context, config.batch_size, config.seed, per_pass)


def language_validation(config: RunConfig, data: LanguageData, total_steps: int) -> Validation:
    """Loss on the validation split of the corpus."""
    trainer = config.trainer
    return Validation(
        data.corpus.split("validation"),
        data.context,
        config.precision,
        data.steps_per_epoch,
        total_steps,
        trainer.val_every,
        trainer.val_bytes,
        trainer.last_val_bytes,
    )


TASKS: dict[str, Task] = {"language": Task(language_data, LanguageModule, language_validation)}
