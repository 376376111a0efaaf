"""What the inner parts of a run record hold: rows of `metrics`, entries of `evaluations`. Unknown keys are refused.

They are types of plain dicts: whoever uses a record reads `row["nats"]`, and what is written is what was read.
"""

import re
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Discriminator, Field, Tag, with_config
from typing_extensions import TypedDict

from training.run_record.strict_json import Count, Number

ByHead = list[list[Number]]  # layer -> head


@with_config(extra="allow")
class Name(TypedDict):
    name: str


@with_config(extra="allow")
class DataOfConfig(TypedDict):
    context: Count
    source: NotRequired[str]


@with_config(extra="allow")
class OptimOfConfig(TypedDict):
    lr: NotRequired[Number | None]


@with_config(extra="allow")
class AnyConfig(TypedDict):
    """A resolved config of any age: what readers of records rely on, and whatever else it has."""

    model: Name
    scale: Name
    data: DataOfConfig
    optim: NotRequired[OptimOfConfig]
    trainer: NotRequired[dict[str, Any]]
    task: NotRequired[str]
    batch_size: NotRequired[Count]


@with_config(extra="forbid")
class AnyRow(TypedDict):
    """What every row of `metrics` has. nats: per target."""

    step: Count
    tokens: Count
    nats: Number


class Row(AnyRow):
    """A row of a language model. bits per byte: of the text that the targets stand for."""

    epoch: Number
    bits_per_byte: Number


class Training(TypedDict):
    """Means of nats and grad_norm over the steps since the row before."""

    split: Literal["train"]
    lr: Number
    grad_norm: Number
    tokens_per_second: Number


class TrainingRow(Row, Training):
    pass


class RecallTrainingRow(AnyRow, Training):
    """Of task=recall: tokens are symbols that were read, of which the targets are some; there is no epoch."""


class Loss(TypedDict):
    """A loss on `bytes` of text. In records where `targets` is absent, a byte was a target.

    `standard_error`: of bits_per_byte, from `blocks` contiguous blocks of text; null where these are too few. Where
    `blocks` is absent it is over single windows and too small, never to be shown. `stride`: how far windows that
    overlap lie apart; absent or null where they do not. Of a corpus whose words are counted `words`, ends of lines
    among them, and the perplexity per word: of a model of words, or word-normalised, exp(total nats / words), of any
    other.
    """

    standard_error: Number | None
    bytes: Count
    targets: NotRequired[Count]
    blocks: NotRequired[Count]
    stride: NotRequired[Count | None]
    words: NotRequired[Count]
    word_perplexity: NotRequired[Number]
    word_normalised_perplexity: NotRequired[Number]


class ValidationRow(Row, Loss):
    """A validation. `synchrony`: what a model of oscillators reports of itself, quantity -> layer -> head. `pairs`: of
    sentences, where the targets are translations.
    """

    split: Literal["validation"]
    synchrony: NotRequired[dict[str, ByHead]]
    pairs: NotRequired[Count]


class Recalled(TypedDict):
    """On so many strings of `context` symbols, of which `targets` in all are scored. accuracy: 0 to 1."""

    context: Count
    strings: Count
    targets: Count
    nats: Number
    accuracy: Annotated[float, Field(strict=True, ge=0, le=1)]


@with_config(extra="forbid")
class RecalledAtLength(Recalled):
    pass


class RecallRow(AnyRow, Recalled):
    """A validation of task=recall. `lengths`: of the last one, on strings of other lengths too."""

    split: Literal["validation"]
    lengths: NotRequired[list[RecalledAtLength]]
    synchrony: NotRequired[dict[str, ByHead]]


LanguageRow = Annotated[TrainingRow | ValidationRow, Field(discriminator="split")]
RecallMetricRow = Annotated[RecallTrainingRow | RecallRow, Field(discriminator="split")]


def _of_text(row: Any) -> Any:
    return "recall" if isinstance(row, dict) and "bits_per_byte" not in row and "epoch" not in row else "language"


MetricRow = Annotated[
    Annotated[LanguageRow, Tag("language")] | Annotated[RecallMetricRow, Tag("recall")], Discriminator(_of_text)
]
FinalRow = Annotated[
    Annotated[ValidationRow, Tag("language")] | Annotated[RecallRow, Tag("recall")], Discriminator(_of_text)
]


@with_config(extra="forbid")
class Evaluation(TypedDict):
    """What every entry of `evaluations` has: what was evaluated. `ssa`: the form of attention that did; `max_bytes`: as
    asked, null for the whole split, absent in older ones.
    """

    split: str
    checkpoint: str
    step: Count
    max_bytes: NotRequired[Count | None]
    ssa: NotRequired[str]


@with_config(extra="forbid")
class ScoredText(TypedDict):
    """A text that is none of the run's splits; sha256 and counts are of all of it, unpacked. `words`: as counted there,
    ends of lines among them, where `words` of the entry may be another count that was given.
    """

    name: str
    sha256: str
    bytes: Count
    words: Count


class LossEvaluation(Evaluation, Loss):
    """eval.py task=loss. `text`: what was scored in place of a split; `split` is "text" then."""

    task: NotRequired[Literal["loss"]]
    context: Count
    nats: Number
    bits_per_byte: Number
    windows: Count
    text: NotRequired[ScoredText]


@with_config(extra="forbid")
class SumsByDistance(TypedDict):
    """By block, class of depths and distance."""

    depths: list[str]
    counts: list[list[list[Count]]]
    nats: list[list[list[Number]]]


class CopyDepthEvaluation(Evaluation):
    """eval.py task=copy_depth: bytes, and sums of their nats, by block and depth."""

    task: Literal["copy_depth"]
    context: Count
    bytes: Count
    depths: list[str]
    distances: list[str]
    counts: list[list[Count]]
    nats: list[list[Number]]
    by_distance: SumsByDistance


@with_config(extra="forbid")
class KernelOfMixer(TypedDict):
    """What a mixer of a layer couples to, and the kernel as harmonic -> coordinate."""

    layer: Count
    mixer: Literal["attention", "local", "copying"]
    coupled_to: str
    kernel_real: list[list[Number]]
    kernel_imag: list[list[Number]]


class OrderEvaluation(Evaluation):
    """What every entry of eval.py task=coupling has."""

    task: Literal["coupling"]
    windows: Count
    order_parameter: ByHead
    null: ByHead
    gate: ByHead


class CouplingEvaluation(OrderEvaluation):
    """eval.py task=coupling: the kernels, and the order."""

    kernels: list[KernelOfMixer]


class AttentionCouplingEvaluation(OrderEvaluation):
    """The same in older records, all of whose mixers were attention: layer -> harmonic -> delay -> coordinate."""

    kernel_real: list[list[list[list[Number]]]]
    kernel_imag: list[list[list[list[Number]]]]


@with_config(extra="forbid")
class HeadsOfLayer(TypedDict):
    """`diversity`: null for a layer without heads."""

    diversity: Number | None
    entropy: list[Number]
    active: list[Number]


class SynchronyEvaluation(Evaluation):
    """eval.py task=synchrony: a measure of heads for each layer."""

    task: Literal["synchrony"]
    windows: Count
    context: Count
    heads: list[HeadsOfLayer]


class RecallEvaluation(Evaluation, Recalled):
    """eval.py task=recall."""

    task: Literal["recall"]


def _plain_name(name: str) -> str:
    if name != re.sub(r"[/\\\x00-\x1f]", "", name) or name in ("", ".", ".."):
        raise ValueError("is not the name of a file in the run directory")
    return name


@with_config(extra="forbid")
class NamedFile(TypedDict):
    name: Annotated[str, AfterValidator(_plain_name)]
    sha256: str


class TranslateEvaluation(Evaluation):
    """eval.py task=translate: loss of the references, and scores of what beam search finds (`measures.bleu`). `test`:
    which test set; `text_sha256`: of its text; `truncated`: pairs of it that the loss takes cut; `averaged`:
    checkpoints whose mean weights translate, 0: those of one; `file`: the translations; `baseline`: config hash of a
    run that it was compared with, `p` of the paired bootstrap.
    """

    task: Literal["translate"]
    test: str
    text_sha256: str
    truncated: Count
    averaged: Count
    file: NamedFile
    baseline: NotRequired[str]
    bleu_difference: NotRequired[Number]
    p: NotRequired[Number]
    beam: Count
    length_penalty: Number
    nats: Number
    bits_per_byte: Number
    standard_error: Number | None
    blocks: Count
    targets: Count
    bytes: Count
    pairs: Count
    sentences: Count
    bleu: Number
    bleu_signature: str
    bleu_mean: Number
    bleu_interval: Number
    chrf: Number
    chrf_signature: str
    bleu_tokenised: Number


def _task(evaluation: Any) -> Any:
    return evaluation.get("task", "loss") if isinstance(evaluation, dict) else "loss"


def _form(evaluation: Any) -> str:
    return "older" if "kernel_real" in evaluation else "of mixers"


AnyCouplingEvaluation = Annotated[
    Annotated[CouplingEvaluation, Tag("of mixers")] | Annotated[AttentionCouplingEvaluation, Tag("older")],
    Discriminator(_form),
]

AnyEvaluation = Annotated[
    Annotated[LossEvaluation, Tag("loss")]
    | Annotated[CopyDepthEvaluation, Tag("copy_depth")]
    | Annotated[AnyCouplingEvaluation, Tag("coupling")]
    | Annotated[SynchronyEvaluation, Tag("synchrony")]
    | Annotated[RecallEvaluation, Tag("recall")]
    | Annotated[TranslateEvaluation, Tag("translate")],
    Discriminator(_task),
]
