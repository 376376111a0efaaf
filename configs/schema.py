"""The typed run config: what may be set, of which type and range, and what it means.

Hydra composes YAML; its result is merged into this tree, so a key that is not written here does not exist. A field that
is a `setting` says which values it takes. Shapes and steps are derived in `training.budget` and `training.schedule`.
"""
# ruff: noqa: RUF009 (a setting makes a dataclass field)

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from configs.counted import counted
from configs.errors import UserError
from configs.fields import FINITE, NOT_EMPTY, Need, Rule, above, at_least, setting

# It becomes part of the run directory's name.
NAME = Rule("takes letters, digits, '.', '_' and '-' only", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*").fullmatch)
SEED = at_least(0, 2**32 - 1)
MOST_THREADS = 1024  # torch crashes on absurd numbers instead of refusing them
PRECISIONS = ("32", "bf16")
LONGEST_SEARCHED = 39  # tokens of a sentence that bench.py translates
BEAM, LENGTH_PENALTY = 4, 0.6  # of beam search, as arXiv 1706.03762 has it
AVERAGED = 5  # last checkpoints that are averaged, as arXiv 1706.03762 has it for its base model
BACKENDS = ("auto", "native", "chunked", "triton", "flex", "dense")  # as in ssa.backends

# Filled by the classes below, as they are made.
MODELS: dict[str, type["ModelConfig"]] = {}
STRINGS: dict[str, type["StringsConfig"]] = {}  # by data.source
PAIRS = ("numbers", "wmt14", "multi30k")  # data.source of parallel text


@dataclass
class TunedConfig:
    """What tuning found for one model at one scale. An unset field falls back to the scale's reference."""

    # d_model of the transformer, number of phases of an FSN
    width: int | None = setting(None, at_least(1), example=160)
    n_layers: int | None = setting(None, at_least(1), example=4)
    n_heads: int | None = setting(None, at_least(1), example=4)
    lr: float | None = setting(None, above(0), example=0.003)  # peak learning rate
    # ours: multiple of it for the token embedding and other learned phases
    embedding_lr: float | None = setting(None, above(0), example=1.0)


TRANSLATION = Need("task=translation", lambda run: run.task == "translation")


@dataclass
class ModelConfig:
    """What every model has. `None` shapes are filled from `tuned[scale]`, then from the scale.

    A class of its own names its `network`, "module:Class", which is called with a vocabulary size, the four shapes
    below, and every further key that is not null under its own name; and the `models` of configs/model that it is for.
    For task=translation it names a `translator` likewise, which is called in the same way and with `dropout` too.
    """

    network: ClassVar[str]
    translator: ClassVar[str | None] = None
    models: ClassVar[tuple[str, ...]]

    name: str = setting("???", NAME, example="mine")
    width: int | None = setting(None, at_least(1), example=160)
    n_layers: int | None = setting(None, at_least(1), example=4)
    n_heads: int | None = setting(None, at_least(1), example=4)
    # SwiGLU width or number of collective modes; None: solved from the budget
    ff_width: int | None = setting(None, at_least(1), example=256)
    # of a translator: share of the numbers of each residual increment, and of the embeddings' where they are no phases,
    # that training leaves out; None: 0.1 (arXiv 1706.03762) for task=translation, else 0
    dropout: float | None = setting(None, at_least(0, 0.99), example=0.3, needs=TRANSLATION)
    tuned: dict[str, TunedConfig] = field(default_factory=dict)

    def __init_subclass__(cls) -> None:
        MODELS.update(dict.fromkeys(cls.models, cls))

    def rates(self) -> tuple[str, ...]:
        """The keys of `optim` that are multiples for parameters which not every model has, and this one does."""
        return ()

    def contradiction(self, context: int) -> str | None:
        """What cannot be together in windows of `context` tokens, one line that says what to type; None: all can."""
        return None

    def for_context(self, context: int) -> Self:
        """The config with what follows from the length of windows filled in."""
        return self

    def for_vocabulary(self, data: Any, vocabulary_size: int) -> Self:
        """The config with what follows from the tokens of `data` filled in. UserError for what cannot be with them."""
        return self


NUMBERED = ("words", "bpe")  # tokenizers whose tokens are numbered by frequency, or nearly so
BANDS = (20_000, 60_000)  # for WikiText-103's words, as Baevski & Auli 2019 (arXiv 1809.10853)
OF_TOKENS = Need("data.tokenizer=words or bpe", lambda run: getattr(run.data, "tokenizer", None) in NUMBERED)


@dataclass
class InBandsConfig(ModelConfig):
    """A model that reads and predicts a large vocabulary in bands by frequency (synchrony_blocks/adaptive.py)."""

    models: ClassVar[tuple[str, ...]] = ()

    # where bands of rarer tokens begin; []: one table of equal vectors; None: BANDS for words, none for other tokens
    cutoffs: list[int] | None = setting(
        None,
        Rule(
            "takes whole numbers from 1 on that rise",
            lambda cutoffs: all(low < high for low, high in zip([0, *cutoffs], cutoffs, strict=False)),
            of_list=True,
        ),
        example=list(BANDS),
        needs=OF_TOKENS,
    )
    # by which a band's vectors are narrower than those of the band before
    div_value: int = setting(
        4,
        at_least(2),
        needs=Need("data.tokenizer=words or model.cutoffs=[20000,60000]", lambda run: run.model.in_bands(run.data)),
    )

    @property
    def can_have_bands(self) -> bool:
        """Whether the readout is one that can be cut."""
        return True

    def in_bands(self, data: Any) -> bool:
        """Whether the vocabulary of `data` is cut, where it is large enough."""
        if self.cutoffs is not None:
            return bool(self.cutoffs)
        return getattr(data, "tokenizer", None) == "words" and self.can_have_bands

    def for_vocabulary(self, data: Any, vocabulary_size: int) -> Self:
        if self.cutoffs is None:
            fitting = [cutoff for cutoff in BANDS if cutoff < vocabulary_size] if self.in_bands(data) else []
            return replace(self, cutoffs=fitting) if fitting else self
        if self.cutoffs and self.cutoffs[-1] >= vocabulary_size:
            raise UserError(
                f"model.cutoffs={str(self.cutoffs).replace(' ', '')}: the vocabulary has {vocabulary_size:,} tokens; "
                f"type smaller ones, or model.cutoffs=[] for one table"
            )
        return self


@dataclass
class TransformerConfig(InBandsConfig):
    network: ClassVar[str] = "baseline:Transformer"
    translator: ClassVar[str | None] = "baseline:TransformerTranslator"
    models: ClassVar[tuple[str, ...]] = ("transformer",)

    rope_base: float = setting(10_000.0, above(1))
    # ours, for comparison with osn: heads whose keys have the content of the token before
    delayed_heads: int = setting(0, at_least(0), example=2)
    # ours, for comparison with fsn: heads whose scores start with a bias towards the token 0, 1, ... back
    lag_heads: int = setting(0, at_least(0), example=4)
    # ours: first layers that have such heads; None: all
    helped_layers: int | None = setting(
        None,
        at_least(1),
        example=1,
        needs=Need(
            "model.delayed_heads=1 or model.lag_heads=4", lambda run: run.model.delayed_heads or run.model.lag_heads
        ),
    )


LOCAL = Need("model.local_layers=1", lambda run: run.model.local_layers > 0)
COPYING = Need("model.copying_layers=1", lambda run: run.model.copying_layers > 0)


@dataclass
class FSNConfig(InBandsConfig):
    """Also `kuramoto` (attention alone, no delay, no frustration) and `fsn_native` (feed_forward: mean_field)."""

    network: ClassVar[str] = "fsn:FSN"
    translator: ClassVar[str | None] = "fsn:FSNTranslator"
    models: ClassVar[tuple[str, ...]] = ("kuramoto", "fsn", "fsn_native")

    harmonics: int = setting(1, at_least(1))  # M, number of harmonics of the coupling kernel
    delay: bool = True  # couple also to the successor of the attended token
    frustration: bool = True  # complex kernel (Kuramoto-Sakaguchi angles); False: real
    # ours: how the kernel starts: shared, alike in all harmonics | first, in the first alone | copying: some
    # coordinates follow and some keep; see fsn/kernel.py
    kernel: str = setting("shared", names=("shared", "first", "copying"))
    coupling: float = setting(0.5, FINITE)  # ours: the strength it starts with; see fsn/kernel.py
    # ours: constant | content, that is constant + linear in the query's features
    gate: str = setting("content", names=("constant", "content"))
    # ours: root mean square that the content part of a gate starts with
    gate_spread: float = setting(
        1.0, at_least(0), needs=Need("model.gate=content", lambda run: run.model.gate == "content")
    )
    # ours: score of the null slot, zero | learned, one a head | none: never attended
    null: str = setting(
        "zero", names=("zero", "learned", "none"), needs=Need("model.delay=true", lambda run: run.model.delay)
    )
    # ours: swiglu | collective modes (paper): mean_field, or native, with amplitudes and angles; see fsn/modes.py
    feed_forward: str = setting("swiglu", names=("swiglu", "mean_field", "native"))
    readout: str = setting("linear", names=("linear", "tied"))  # ours: linear | tied to the embedding's phases
    # ours: embedding phases start in +-pi (j / d_h)^grading, narrow where the drift is fast
    grading: float = setting(2.0, at_least(0))
    rope_base: float = setting(10_000.0, above(1))  # ours: as the transformer has it
    # ours: first layers with coupling to the last few tokens in place of attention; see fsn/local_coupling.py
    local_layers: int = setting(1, at_least(0))
    reach: int = setting(8, at_least(1), needs=LOCAL)  # ours: tokens back that it reaches
    local_coupling: float = setting(0.75, FINITE, needs=LOCAL)  # ours: its strength at the start, one token back
    # ours: last layers with a copying head beside their attention; see fsn/copying.py
    copying_layers: int = setting(1, at_least(0))
    copying_share: float = setting(0.5, above(0, 1), needs=COPYING)  # ours: of the phases, those it couples
    copying_coupling: float = setting(1.0, FINITE, needs=COPYING)  # ours: its strength at the start
    copying_gate: float = setting(2.0, FINITE, needs=COPYING)  # ours: its gates at the start
    # ours: of a phase gates and feed-forward see 2: cos and sin | 1: the cosine against a learned reference
    quadratures: int = setting(1, at_least(1, 2))
    # ours: what the root mean square (rad) of the feed-forward's increments of a token stays below; None: no limit
    increment_limit: float | None = setting(None, at_least(1e-3, 1e3), example=2.0)

    def contradiction(self, context: int) -> str | None:
        if self.kernel == "first" and self.harmonics == 1:
            return "model.kernel=first changes nothing with one harmonic: leave it out, or type model.harmonics=2 too"
        if self.cutoffs and not self.can_have_bands:
            return "model.readout=tied has no bands: leave out model.cutoffs, or type model.readout=linear"
        return None

    @property
    def can_have_bands(self) -> bool:
        return self.readout == "linear"

    def rates(self) -> tuple[str, ...]:
        return ("kernel_lr", "gate_lr", *(["readout_lr"] if self.readout == "linear" else []))


CALIBRATED = Need("model.start=calibrated", lambda run: run.model.start == "calibrated")
POSITIONS = Need("model.position=true", lambda run: run.model.position)
OWN_QUERIES = Need(
    "model.lag=1, model.delayed_heads=1 or model.query_frequency=separate",
    lambda run: run.model.lag or run.model.delayed_heads or run.model.query_frequency == "separate",
)


@dataclass
class OSNConfig(InBandsConfig):
    network: ClassVar[str] = "ssa:OSN"
    translator: ClassVar[str | None] = "ssa:OSNTranslator"
    models: ClassVar[tuple[str, ...]] = ("osn",)

    # gelu, as published | swiglu, as the transformer has it
    feed_forward: str = setting("swiglu", names=("swiglu", "gelu"))
    # ours: locking threshold (rad) at the start; pi/2 is the published one
    theta: float = setting(1.2, at_least(1e-3, math.pi / 2))
    learn_theta: bool = True  # ours: one a head
    position: bool = True  # ours: frequencies have a positional part
    drifts: int = setting(8, at_least(1), needs=POSITIONS)  # ours: pairs of the positional part
    # ours: positional drifts are base^(-f / drifts) rad a token
    drift_base: float = setting(1000.0, above(1), needs=POSITIONS)
    # ours: of the square of the first and of the last head's frequencies at the start; those between in equal steps
    position_share: list[float] = setting(
        [0.3, 0.98],
        Rule(
            "takes two numbers between 0 and 1",
            lambda shares: len(shares) == 2 and all(0 < share < 1 for share in shares),
            of_list=True,
        ),
        needs=POSITIONS,
    )
    # ours: heads whose keys have the content of the token before
    delayed_heads: int = setting(1, at_least(0), example=2)
    # ours: queries of head h start h lags (tokens) back, learned; 0: no lag
    lag: float = setting(1.0, at_least(0))
    # ours: added to the sum of strengths where a token need not lock to itself
    floor: float = setting(0.1, at_least(0), needs=OWN_QUERIES)
    # shared | separate: queries have a map of their own, equal at the start
    query_frequency: str = setting("shared", names=("shared", "separate"))
    # of the content part, a head; None: that of the head
    frequency_width: int | None = setting(None, at_least(1), example=16)
    # calibrated (ours) | published: PyTorch's own weights in attention, alpha = K = 1
    start: str = setting("calibrated", names=("calibrated", "published"))
    # ours: share of random pairs that lock at a calibrated start, in every head
    locked_fraction: float = setting(0.3, above(0, 0.99), needs=CALIBRATED)
    # ours: tokens of the sequences it holds for; None: data.context
    calibration_length: int | None = setting(None, at_least(2), example=256)
    # coupling bandwidth of every head at the start; None: calibrated, or 1 as published
    alpha: float | None = setting(None, above(0, 1e6), example=1.0)
    K: float | None = setting(None, above(0, 1e6), example=1.0)  # coupling strength, likewise
    # only so many of the strongest partners of a token (published as an option); None: all
    top_k: int | None = setting(None, at_least(1), example=16)

    def rates(self) -> tuple[str, ...]:
        return ("kernel_lr",)

    def contradiction(self, context: int) -> str | None:
        if self.lag and not self.position:
            return "model.position=false leaves model.lag no positions to go back in: type model.lag=0 too"
        if self.top_k is not None and self.top_k > context:
            return f"model.top_k={self.top_k} is more than data.context={context}; type model.top_k=16"
        if self.learn_theta and self.theta == math.pi / 2:
            return f"model.theta={self.theta} cannot be learned from there: type model.learn_theta=false too"
        return None

    def for_context(self, context: int) -> Self:
        return self if self.calibration_length is not None else replace(self, calibration_length=context)


@dataclass
class ScaleConfig:
    """A promise of a budget: `parameters` trainable parameters to within `tolerance`, for every model."""

    name: str = setting("???", NAME, example="mine")
    parameters: int = setting(0, at_least(1), example=1_000_000)
    tolerance: float = setting(0.005, at_least(0, 1))
    width: int = setting(0, at_least(1), example=160)
    n_layers: int = setting(0, at_least(1), example=4)
    n_heads: int = setting(0, at_least(1), example=4)


TEXT_FILE = Need("data=text", lambda run: run.data.source == "text")
WIKITEXT = Need("data=wikitext103", lambda run: run.data.source == "wikitext103")
TRAINED_BPE = Need("data.tokenizer=bpe", lambda run: run.data.tokenizer == "bpe")


@dataclass
class DataConfig:
    name: str = setting("???", NAME, example="mine")  # what records and tables call the corpus
    source: str = setting("???", names=("stdlib", "enwik8", "code", "text", "text8", "text27", "wikitext103"))
    path: str | None = setting(
        None, NOT_EMPTY, example="FILE", path=True
    )  # a local file or folder, not the official source
    split: list[float] = setting(
        [0.9, 0.05, 0.05],
        Rule(
            "takes three positive shares (train, validation, test) that sum to 1",
            lambda split: len(split) == 3 and min(split) > 0 and math.isclose(sum(split), 1.0, abs_tol=1e-6),
            of_list=True,
        ),
    )
    # bytes: a token is a byte | characters: likewise, of a vocabulary of the bytes that the training text has
    # words: those of the training text, each with the space before it, in text that is spaced as WikiText's is
    # bpe: byte-level pair encoding, trained on the training text | FILE: a byte-level tokenizer.json of the tokenizers
    # library
    tokenizer: str = setting("bytes", NOT_EMPTY, example="bytes", path=True)
    vocabulary: int = setting(8192, at_least(257), needs=TRAINED_BPE)  # tokens of bpe, 256 of them the single bytes
    raw: bool = setting(True, needs=WIKITEXT)  # its text as written; false: word level, rare words replaced by <unk>
    context: int = setting(256, at_least(2))  # tokens a window holds
    cache_dir: str | None = setting(None, path=True)  # None: $SYNCHRONY_CACHE, else ~/.cache/synchrony
    as_bytes: bool = setting(False, needs=TEXT_FILE)  # the file's bytes as they lie on the disk, whatever it is

    task: ClassVar[str] = "language"

    @property
    def counts_tables(self) -> bool:
        """Whether a budget of parameters counts the embedding and readout tables of the vocabulary."""
        return self.tokenizer in ("bytes", "characters")


OF_FILES = Need("data=multi30k or data=wmt14_en_de", lambda run: run.data.source != "numbers")
LOCAL_PAIRS = Need("data.path=FOLDER", lambda run: run.data.path is not None)


@dataclass
class ParallelConfig:
    """Sentences and their translations, for task=translation (`data.parallel`), English into German."""

    task: ClassVar[str] = "translation"
    counts_tables: ClassVar[bool] = False
    languages: ClassVar[tuple[str, str]] = ("en", "de")  # source, target

    name: str = setting("???", NAME, example="mine")  # what records and tables call the corpus
    source: str = setting("???", names=PAIRS)
    # a local folder with files of sentences, or what their names begin with; not the official source
    path: str | None = setting(None, NOT_EMPTY, example="FOLDER", needs=OF_FILES, path=True)
    # the file of a split there, without its language: train.tok for train.tok.en and train.tok.de; None: a usual name
    train: str | None = setting(None, NAME, example="train", needs=LOCAL_PAIRS)
    validation: str | None = setting(None, NAME, example="val", needs=LOCAL_PAIRS)
    test: str | None = setting(None, NAME, example="newstest2014", needs=LOCAL_PAIRS)
    # tokens of the byte-level BPE of both languages, 256 of them the single bytes, and <eos>
    vocabulary: int = setting(32_768, at_least(258))
    context: int = setting(256, at_least(2))  # most tokens of a sentence, <eos> among them
    # drop | truncate: pairs of training with a longer sentence; those of other splits are always truncated
    too_long: str = setting("drop", names=("drop", "truncate"))
    # pairs of training with one sentence longer than so many times the other are left out; null: none
    max_ratio: float | None = setting(None, at_least(1), example=1.5)
    # tokens of a batch over all devices: pairs times the longest sentence among them, in either language
    batch_tokens: int = setting(25_000, at_least(2))
    micro_batches: int = setting(1, at_least(1))  # passes that a batch is computed in; dropout then draws otherwise
    cache_dir: str | None = setting(None, path=True)  # None: $SYNCHRONY_CACHE, else ~/.cache/synchrony


@dataclass
class StringsConfig:
    """Strings of symbols that are made as they are needed, for task=recall (`data.strings`). One class a kind."""

    kind: ClassVar[str]  # data.source
    task: ClassVar[str] = "recall"
    counts_tables: ClassVar[bool] = True

    name: str = setting("???", NAME, example="mine")  # what records and tables call them
    source: str = setting("???", names=("repeat", "mqar", "selective_copying"))
    alphabet: int = setting(64, at_least(2))  # different symbols, the vocabulary
    context: int = setting(128, at_least(4))  # symbols a string holds
    # ours: symbols of the strings that the last validation takes too, each length by itself
    lengths: list[int] = setting([128, 256, 512], at_least(4), example=[128, 256])
    strings: int = setting(256, at_least(1))  # that a validation takes of each length

    def __init_subclass__(cls) -> None:
        STRINGS[cls.kind] = cls

    def impossible(self, length: int) -> str | None:
        """Why there is no string of so many symbols, with what to type; None: there are."""
        return None


@dataclass
class RepeatConfig(StringsConfig):
    """A random string, and then its end again."""

    kind: ClassVar[str] = "repeat"
    CHANCE: ClassVar[float] = 0.05

    # ours: least distance of a copy, as a share of the half string that is random; 1: that is followed by itself, so
    # that a head which looks a fixed distance back recalls it whatever the symbol is
    least_distance: float = setting(0.5, above(0, 1))

    def unscored(self, length: int) -> int:
        """First symbols of the copy that are not scored, because nothing or too little tells them.

        So many that as many match by chance at under 0.05 places of the random half, length / 2 / alphabet^n (our
        choice): 2 of 64 where symbols are 64, 4 where they are 6.
        """
        n = 1
        while length / 2 / self.alphabet**n > self.CHANCE:
            n += 1
        return n

    def impossible(self, length: int) -> str | None:
        if length % 2:
            return f"a string of {length} symbols has no half; type an even number"
        if self.unscored(length) >= length // 2:
            return f"with {self.alphabet} symbols none of {length} is told by those before it; type a larger number"
        return None


@dataclass
class QueriesConfig(StringsConfig):
    """Multi-query associative recall."""

    kind: ClassVar[str] = "mqar"

    pairs: int = setting(8, at_least(1))  # keys with a value, in strings of `context` symbols; in longer ones more
    # gaps between a pair and its query have a probability proportional to gap^(power - 1)
    power: float = setting(0.01, above(0))

    def pairs_of(self, length: int) -> int:
        """Pairs in a string of so many symbols: in proportion to its length, one at least."""
        return max(1, self.pairs * length // self.context)

    def impossible(self, length: int) -> str | None:
        pairs = self.pairs_of(length)
        if length % 2:
            return f"pairs and queries take two symbols each, and {length} is odd; type an even number"
        if 4 * pairs > length:
            return (
                f"{counted(pairs, 'pair')} with queries: {4 * pairs} symbols, more than {length}; type fewer data.pairs"
            )
        if pairs > self.alphabet // 2 - 1:
            return (
                f"{counted(pairs, 'pair')} in {length} symbols: as many different keys, and data.alphabet="
                f"{self.alphabet} has {self.alphabet // 2 - 1}; type data.alphabet={2 * pairs + 2} or more"
            )
        return None


@dataclass
class SelectiveCopyingConfig(StringsConfig):
    """Symbols among noise, to be repeated in order."""

    kind: ClassVar[str] = "selective_copying"

    content: int = setting(16, at_least(1))  # symbols to be repeated, in strings of any length

    def impossible(self, length: int) -> str | None:
        if self.alphabet < 4:
            return f"noise and marker leave {self.alphabet - 2} symbols to choose from; type data.alphabet=4 or more"
        if 2 * self.content > length:
            return (
                f"{self.content} symbols and their copies take {2 * self.content} places, more than {length}; "
                f"type data.content={length // 2} or less"
            )
        return None


def data_class(source: str | None) -> type[DataConfig | ParallelConfig | StringsConfig]:
    """The config class of data from a source; of one that is unknown, that of text."""
    return ParallelConfig if source in PAIRS else STRINGS.get(source or "", DataConfig)


OF_WINDOWS = Need(
    "task=language or task=recall; task=translation has data.batch_tokens=25000 in its place",
    lambda run: run.task != "translation",
)
OF_TEXT = Need("task=language", lambda run: run.task == "language")


@dataclass
class TrainerConfig:
    name: str = "???"
    accelerator: str = setting("auto", names=("auto", "cpu", "cuda"))
    devices: int = setting(1, at_least(1))
    # ddp: every device has all weights | fsdp: each keeps a part of weights, gradients and moments | auto: ddp if many
    strategy: str = setting("auto", names=("auto", "ddp", "fsdp"))
    max_epochs: int | None = setting(None, at_least(1), example=1)
    # rules where it is set, whatever max_epochs is
    max_steps: int | None = setting(None, at_least(1), example=1000)
    # steps between validations, besides the one at each epoch's end; None: where no epoch ends before the run, a fifth
    val_every: int | None = setting(None, at_least(1), example=500)
    # first bytes of the split that validations before the last take; None: all
    val_bytes: int | None = setting(None, at_least(1), example=100_000, needs=OF_TEXT)
    # first bytes of the split that the last validation takes; None: all
    last_val_bytes: int | None = setting(None, at_least(1), example=1_000_000, needs=OF_TEXT)
    checkpoint_epochs: list[int] = setting([], at_least(1), example=[10, 30])  # epochs whose checkpoint is kept
    checkpoint_every: int = setting(200, at_least(1))  # steps between the checkpoints a run resumes from
    log_every: int = setting(10, at_least(1))  # steps between training rows of the record
    # windows per forward pass; None: the whole batch at once
    micro_batch_size: int | None = setting(
        None,
        at_least(1),
        example=8,
        needs=Need(
            "task=language or task=recall; task=translation has data.micro_batches=2 in its place",
            lambda run: run.task != "translation",
        ),
    )
    threads: int | None = setting(None, at_least(1, MOST_THREADS), example=2)  # of torch; None: its own choice
    # seconds that the processes of a run wait for one of them before the run ends
    timeout: int = setting(1800, at_least(5))
    # replay the passes of a small model as CUDA graphs: one launch instead of hundreds; one GPU, whole batches. With
    # compile=true the compiler captures them
    cuda_graphs: bool = False
    progress: bool = True


@dataclass
class OptimConfig:
    name: str = setting("???", names=("adamw",))
    lr: float | None = setting(None, above(0), example=0.003)  # peak learning rate; None: the model's tuned one
    # ours: multiple of it for the token embedding and other learned phases (rad); None: the model's tuned one, else 1.
    embedding_lr: float | None = setting(None, above(0), example=1.0)
    # multiple of it for the coupling kernels of an FSN, and for alpha, K and theta of SSA
    kernel_lr: float = setting(
        1.0,
        above(0),
        needs=Need("a model with coupling kernels, such as model=fsn", lambda run: "kernel_lr" in run.model.rates()),
    )
    # multiple of it for the gates of an FSN's scores
    gate_lr: float = setting(
        1.0, above(0), needs=Need("a model with gates, such as model=fsn", lambda run: "gate_lr" in run.model.rates())
    )
    # multiple of it for an untied readout
    readout_lr: float = setting(
        1.0,
        above(0),
        needs=Need(
            "an untied readout, such as model=fsn model.readout=linear", lambda run: "readout_lr" in run.model.rates()
        ),
    )
    schedule: str = setting("cosine", names=("cosine", "linear", "constant", "inverse_sqrt"))  # after the warm-up
    warmup_steps: int = setting(100, at_least(0))
    # last learning rate as a fraction of the peak
    final_lr: float = setting(
        0.1, at_least(0, 1), needs=Need("optim.schedule=cosine", lambda run: run.optim.schedule in ("cosine", "linear"))
    )
    # of each target's probability the share that is spread over the whole vocabulary, in training alone; None: 0.1
    # (arXiv 1706.03762) for task=translation, else 0
    label_smoothing: float | None = setting(None, at_least(0, 0.99), example=0.1, needs=TRANSLATION)
    weight_decay: float = setting(0.1, at_least(0))
    betas: list[float] = setting(
        [0.9, 0.95],
        Rule(
            "takes two numbers in [0, 1)",
            lambda betas: len(betas) == 2 and all(0 <= beta < 1 for beta in betas),
            of_list=True,
        ),
    )
    eps: float = setting(1e-8, above(0))
    grad_clip: float = setting(1.0, at_least(0))  # 0: no clipping


@dataclass
class SSAConfig:
    """How Selective Synchronization Attention is computed. All give the same, gradients too, up to rounding."""

    # auto: native on a CPU, triton on CUDA, else chunked | native: C++ | triton: kernels for CUDA | chunked: PyTorch
    # | flex: FlexAttention, for inference on CUDA | dense: O(N^2) memory, where the others take O(N)
    backend: str = setting("auto", names=BACKENDS)


@dataclass
class LoggerConfig:
    name: str = setting("???", names=("wandb", "none"))
    mode: str = setting("offline", names=("offline", "online"))
    project: str = "synchrony"
    entity: str | None = None
    # seconds that W&B may take to finish after training before it is left behind
    timeout: float = setting(30.0, above(0))


@dataclass
class RunConfig:
    model: Any = None  # one of MODELS
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    data: Any = None  # DataConfig, ParallelConfig, or one of STRINGS
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    ssa: SSAConfig = field(default_factory=SSAConfig)
    # language: text, each token from those before it | recall: generated strings, symbols that occurred before
    # translation: each token of a sentence from those before it and the sentence it translates
    task: str = setting("language", names=("language", "recall", "translation"))
    seed: int = setting(0, SEED)
    # windows per optimizer step, over all devices
    batch_size: int = setting(16, at_least(1), needs=OF_WINDOWS)
    precision: str = setting("32", names=PRECISIONS)
    compile: bool = False
    runs: str = setting("runs", NOT_EMPTY, path=True)  # folder in which run directories are made
    run_dir: str | None = setting(
        None, NOT_EMPTY, example="FOLDER", path=True
    )  # this run directory instead of the hashed one
    overwrite: bool = False  # start over; the old run directory is moved aside
    plan: bool = False  # print what would be run, and stop


ON_TEXT = ("loss", "synchrony", "copy_depth", "coupling")  # the tasks that read a split
IN_WINDOWS = ("loss", "copy_depth")  # and those that read it in windows as they are asked for
ON_PAIRS = ("translate",)
WITH_SPLIT = (*ON_TEXT, "recall", *ON_PAIRS)
AT_LENGTH = (*IN_WINDOWS, "recall")
IN_BATCHES = (*AT_LENGTH, *ON_PAIRS)


@dataclass
class EvaluationDataConfig:
    """Where the corpus of the run is now; it must be the same content. None: where it was in training. Or a text of
    another corpus.
    """

    path: str | None = setting(None, tasks=(*ON_TEXT, *ON_PAIRS), path=True)
    test: str | None = setting(None, NAME, example="test_2017_flickr", tasks=ON_PAIRS)  # the file of another test
    cache_dir: str | None = setting(None, tasks=(*ON_TEXT, *ON_PAIRS), path=True)
    # a text file, also .xz, .gz or .zst, that is scored whole in place of a split, with the tokenizer of the run
    text: str | None = setting(None, NOT_EMPTY, example="wiki.test.raw.xz", tasks=("loss",), path=True)
    # the words of that text by another count, such as the official one of its word-level form; None: counted
    words: int | None = setting(None, at_least(1), example=245_569, tasks=("loss",))


@dataclass
class EvaluationConfig:
    """What `eval.py` may be asked. The run itself says which data, model and precision."""

    run: str | None = setting(None, path=True)  # run directory
    # loss: bits per byte of a split | sample: write text | synchrony: what the heads look at, with a picture
    # copy_depth: bits per byte by how long a byte's context matches what came before
    # coupling: trained coupling functions and order parameters of an FSN, with a picture
    # recall: accuracy and nats of a run with task=recall, on strings of any length
    # translate: a run with task=translation translates a split and is scored, or lines of text: input=FILE
    task: str = setting("loss", names=("loss", "sample", "synchrony", "copy_depth", "coupling", "recall", "translate"))
    split: str = setting("test", names=("train", "validation", "test"), tasks=WITH_SPLIT)
    # last: the newest whole one | start: step 0 | average: the mean weights of the last epochs' | a .ckpt file, of the
    # run or by its path
    checkpoint: str = setting("last", path=True)
    # checkpoints of epochs that are averaged, the last ones
    average: int = setting(AVERAGED, at_least(1))
    # tokens a window, or symbols a string holds; None: as in training
    context: int | None = setting(None, at_least(2), example=256, tasks=AT_LENGTH)
    # targets that a window adds, each with context - stride tokens before it or more; None: the context
    stride: int | None = setting(None, at_least(1), example=64, tasks=("loss",))
    # windows, strings or sentences per forward pass; does not change the result
    batch_size: int = setting(64, at_least(1), tasks=IN_BATCHES)
    max_bytes: int | None = setting(None, at_least(1), example=100_000, tasks=IN_WINDOWS)  # first bytes of the split
    strings: int = setting(1000, at_least(1), tasks=("recall",))  # new ones, that no run has seen
    data: EvaluationDataConfig = field(default_factory=EvaluationDataConfig)
    # auto: the kind that the run was trained on, if it is there | cpu | cuda
    device: str = setting("auto", names=("auto", "cpu", "cuda"))
    ssa: SSAConfig = field(default_factory=SSAConfig)  # of an osn; not what it was trained with
    # what the text begins with; empty: a newline, or a space where the vocabulary has none
    prompt: str = setting("", tasks=("sample",))
    length: int = setting(400, at_least(1), tasks=("sample",))  # tokens to write after the prompt
    temperature: float = setting(0.8, at_least(0), tasks=("sample",))  # 0 takes the likeliest token
    # draw from the likeliest tokens that hold this much probability
    top_p: float = setting(0.95, above(0, 1), tasks=("sample",))
    seed: int = setting(0, SEED, tasks=("sample",))
    # sentences to translate, one a line: a text file (.gz, .xz and .zst too), or -: what is typed or piped in; None:
    # those of the split, whose translations are scored
    input: str | None = setting(None, NOT_EMPTY, example="FILE", tasks=ON_PAIRS, path=True)
    beam: int = setting(BEAM, at_least(1), tasks=ON_PAIRS)  # hypotheses a sentence; 1: greedy
    length_penalty: float = setting(LENGTH_PENALTY, at_least(0), tasks=ON_PAIRS)  # alpha; 0: none
    n_best: int = setting(1, at_least(1), tasks=ON_PAIRS)  # of the lines of input: translations each, up to beam
    # another run directory, that has translated the same split in the same way: the difference, by the paired bootstrap
    baseline: str | None = setting(None, NOT_EMPTY, example="runs/transformer", tasks=ON_PAIRS, path=True)
    scores: bool = setting(False, tasks=ON_PAIRS)  # of the lines of input: print log p / length penalty before each


LAYERS = (
    *("sdpa", "sdpa_bidirectional", "softmax_explicit", "transformer", "fsn"),
    *("ssa", "ssa_osn", "ssa_bidirectional", "ssa_dense", "published"),
)
BLOCKS = ("transformer_block", "osn_block", "published_block")  # with a feed-forward, as in the table of SSA's author


@dataclass
class BenchmarkConfig:
    """What `bench.py` measures. task=steps: full training steps (forward, backward, optimizer) of models over bytes,
    side by side, and the loading of a batch. task=layers: forward and backward of attention layers against length.
    task=inference: the loss of a split, and cached decoding, of models over bytes. task=translation: training steps of
    translators, and beam search with caches and without. task=scaling: training steps of batch_size * context tokens
    against the length of windows, the width and the parameters. task=loop: what a run adds to its training steps.
    """

    task: str = setting("steps", names=("steps", "layers", "inference", "translation", "scaling", "loop"))
    models: list[str] = field(default_factory=lambda: ["transformer", "kuramoto", "fsn", "fsn_native", "osn"])
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    batch_size: int = setting(
        16, at_least(1)
    )  # windows a step; inference: of a pass, and texts that are written at once
    # bytes a window holds; inference: and that are written; translation: tokens of a sentence, up to 39
    context: int = setting(256, at_least(2))
    vocabulary: int = setting(8192, at_least(16))  # translation: tokens
    # layers: the first one is the unit; legal are LAYERS and BLOCKS, above
    layers: list[str] = field(default_factory=lambda: list(LAYERS))
    # layers, and scaling, where they divide batch_size * context: tokens
    lengths: list[int] = setting([128, 256, 512, 1024, 2048, 4096], at_least(2), example=[512, 1024])
    # scaling: with the layers of `scale` and a feed-forward in proportion
    widths: list[int] = setting([64, 96, 128, 192, 256], at_least(1), example=[64, 128])
    scales: list[str] = field(default_factory=lambda: ["250k", "1m", "2m", "4m", "8m"])  # scaling: of configs/scale
    d_model: int = setting(512, at_least(1))  # layers
    n_heads: int = setting(8, at_least(1))  # layers
    # in each round every model, or layer and length, takes one step; medians over rounds
    rounds: int = setting(9, at_least(1))
    device: str = setting("cpu", names=("cpu", "cuda"))
    precision: str = setting("32", names=PRECISIONS)
    compile: bool = False
    backward: bool = True  # layers: forward and backward; false: forward alone, without gradients
    threads: int | None = setting(None, at_least(1, MOST_THREADS), example=2)  # of torch; None: its own choice
    output: str | None = setting(None, path=True)  # a JSON file for the result
    figure: str | None = setting(
        None, path=True
    )  # layers: draw time and memory against length into FIGURE.png and FIGURE.svg
