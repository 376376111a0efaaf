"""What a run trains on, by which step, and how it is validated: one entry per value of `task`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from configs.schema import AVERAGED, RunConfig
from data.language import LanguageData
from data.overlap import with_overlap
from data.parallel import open_parallel
from data.recall import RecallData
from data.sources import open_corpus
from data.strings import Strings
from data.tokenizers import WordTokenizer
from data.translation import TranslationData
from measures.flops import flops_per_target, flops_per_token
from measures.memory import TrainingMemory, training_memory
from training.run_record.record import DataInfo, TokenizerInfo, without_absolute_paths
from training.schedule import glanced_bytes, validation_interval
from training.units import BITS_PER_BYTE, NATS_PER_SYMBOL, Unit

if TYPE_CHECKING:  # their imports are where they are made: a plan needs no Lightning, which takes seconds to load
    from training.recall import RecallValidation
    from training.step import TrainingModule
    from training.translation import TranslationValidation
    from training.validation import Validation


def language_info(data: LanguageData) -> DataInfo:
    """What the record tells of a corpus."""
    corpus = data.corpus
    tokenizer = corpus.tokenizer
    told: TokenizerInfo = {
        "name": tokenizer.name,
        "sha256": tokenizer.sha256,
        "vocabulary_size": tokenizer.vocabulary_size,
        "tokens_sha256": corpus.tokens_sha256,
    }
    if tokenizer.characters is not None:
        told["characters"] = tokenizer.characters
    return DataInfo(
        corpus.name,
        corpus.sha256,
        corpus.bytes_per_split(),
        without_absolute_paths(dict(corpus.source)),
        corpus.tokens_per_split(),
        told,
    )


def windows_memory(model: nn.Module, config: RunConfig, data: Any) -> TrainingMemory:
    """Of a step on windows of `data.context` tokens."""
    windows = config.trainer.micro_batch_size or config.batch_size // config.trainer.devices
    return training_memory(model, windows, torch.zeros(1, config.data.context, dtype=torch.int64))


@dataclass(frozen=True)
class Task:
    """The parts of a task that are made from a config."""

    data: Callable[[RunConfig], Any]  # TrainingData
    module: "Callable[..., TrainingModule]"
    # The last argument: optimizer steps of the run.
    validation: "Callable[[RunConfig, Any, int], Validation | RecallValidation | TranslationValidation]"
    info: Callable[[Any], DataInfo] = language_info  # what the record tells of the data
    flops: Callable[[nn.Module, Any], int] = lambda model, data: flops_per_token(model, data.context)
    memory: Callable[[nn.Module, RunConfig, Any], TrainingMemory] = windows_memory  # of a step, on one device
    unit: Unit = BITS_PER_BYTE
    averaged: int = 0  # last epochs whose checkpoints are kept where none are named, for eval.py checkpoint=average


def language_data(config: RunConfig) -> LanguageData:
    """The corpus of `data` in batches. UserError for one that is not there, or cannot be cut as asked."""
    corpus = with_overlap(open_corpus(config.data))
    return LanguageData(corpus, config.data.context, config.batch_size, config.seed, _per_pass(config))


def _per_pass(config: RunConfig) -> int | None:
    micro = config.trainer.micro_batch_size
    return None if micro is None else micro * config.trainer.devices


def language_module(*arguments: Any) -> "TrainingModule":
    """What trains a model of the task, from what `TrainingModule` takes."""
    from training.language import LanguageModule

    return LanguageModule(*arguments)


def language_validation(config: RunConfig, data: LanguageData, total_steps: int) -> "Validation":
    """Loss on the validation split of the corpus."""
    from training.validation import Validation

    trainer, corpus = config.trainer, data.corpus
    every = validation_interval(trainer.val_every, data.steps_per_epoch, total_steps)
    return Validation(
        corpus.split("validation"),
        data.context,
        config.precision,
        data.steps_per_epoch,
        total_steps,
        every,
        glanced_bytes(trainer, data.steps_per_epoch, total_steps),
        trainer.last_val_bytes,
        corpus.text("validation") if corpus.counts_words else None,
        isinstance(corpus.tokenizer, WordTokenizer),
    )


def recall_data(config: RunConfig) -> RecallData:
    """The strings of `data` in batches."""
    return RecallData(Strings(config.data), config.data.context, config.batch_size, config.seed, _per_pass(config))


def recall_info(data: RecallData) -> DataInfo:
    """What the record tells of strings: they are no text, and have no bytes of it."""
    strings, config = data.strings, data.strings.config
    return DataInfo(
        config.name,
        strings.sha256,
        {"validation": 0},
        strings.source,
        {"validation": config.strings * strings.scored(config.context)},
        {"name": "symbols", "sha256": None, "vocabulary_size": strings.vocabulary_size},
    )


def recall_module(*arguments: Any) -> "TrainingModule":
    """What trains a model of the task, from what `TrainingModule` takes."""
    from training.recall import RecallModule

    return RecallModule(*arguments)


def recall_validation(config: RunConfig, data: RecallData, total_steps: int) -> "RecallValidation":
    """Loss and accuracy on strings of the split validation."""
    from training.recall import RecallValidation

    every = validation_interval(config.trainer.val_every, None, total_steps)
    return RecallValidation(data.strings, data.context, config.precision, total_steps, every)


def translation_data(config: RunConfig) -> TranslationData:
    """The pairs of `data` in batches. UserError as of `open_parallel`."""
    data = config.data
    return TranslationData(open_parallel(data), data.context, data.batch_tokens, config.seed, data.micro_batches)


def translation_info(data: TranslationData) -> DataInfo:
    """What the record tells of parallel text: tokens and bytes are those of the translations."""
    parallel, tokenizer = data.parallel, data.parallel.tokenizer
    return DataInfo(
        parallel.name,
        parallel.sha256,
        parallel.bytes_per_split(),
        without_absolute_paths(dict(parallel.facts)),
        parallel.tokens_per_split(),
        {
            "name": tokenizer.name,
            "sha256": tokenizer.sha256,
            "vocabulary_size": tokenizer.vocabulary_size,
            "tokens_sha256": parallel.tokens_sha256,
        },
    )


def translation_flops(model: nn.Module, data: TranslationData) -> int:
    """Of a training step, per token of a translation, for sentences of the mean length of both languages."""
    return flops_per_target(model, *_mean_lengths(data))


def translation_memory(model: nn.Module, config: RunConfig, data: TranslationData) -> TrainingMemory:
    """Of a step on sentences of the mean length of both languages, as many as a batch holds."""
    source, target = _mean_lengths(data)
    pairs = -(-data.batch_tokens // (max(source, target) * data.n_micro * config.trainer.devices))
    return training_memory(model, pairs, *(torch.zeros(1, n, dtype=torch.int64) for n in (source, target)))


def _mean_lengths(data: TranslationData) -> tuple[int, int]:
    """Of the pairs of training, source and target, in tokens."""
    pairs, counts = data.parallel.pairs_per_split()["train"], data.parallel.facts["tokens"]["train"]
    return round(counts["source"] / pairs), round(counts["target"] / pairs)


def translation_module(*arguments: Any) -> "TrainingModule":
    """What trains a model of the task, from what `TrainingModule` takes."""
    from training.translation import TranslationModule

    return TranslationModule(*arguments)


def translation_validation(config: RunConfig, data: TranslationData, total_steps: int) -> "TranslationValidation":
    """Loss on the validation split."""
    from training.translation import TranslationValidation

    return TranslationValidation(
        data.parallel.pairs("validation"),
        data.context,
        config.precision,
        data.steps_per_epoch,
        total_steps,
        validation_interval(config.trainer.val_every, data.steps_per_epoch, total_steps),
    )


TASKS: dict[str, Task] = {
    "language": Task(language_data, language_module, language_validation),
    "recall": Task(recall_data, recall_module, recall_validation, recall_info, unit=NATS_PER_SYMBOL),
    "translation": Task(
        translation_data,
        translation_module,
        translation_validation,
        translation_info,
        translation_flops,
        translation_memory,
        averaged=AVERAGED,
    ),
}
