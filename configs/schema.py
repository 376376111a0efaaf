"""The typed run config: what may be set, of which type, and what it means.

Hydra composes YAML; its result is merged into this tree, so a key that is not written here does not exist.
Nothing in this file computes: shapes and steps are derived in `training.budget` and `training.schedule`.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TunedConfig:
    """What tuning found for one model at one scale. An unset field falls back to the scale's reference."""

    width: int | None = None  # d_model of the transformer, number of phases of an FSN
    n_layers: int | None = None
    n_heads: int | None = None
    lr: float | None = None  # peak learning rate
    embedding_lr: float | None = None  # ours: multiple of it for the token embedding and other learned phases


@dataclass
class ModelConfig:
    """What every model has. `None` shapes are filled from `tuned[scale]`, then from the scale."""

    name: str = "???"
    width: int | None = None
    n_layers: int | None = None
    n_heads: int | None = None
    ff_width: int | None = None  # SwiGLU width or number of collective modes; None: solved from the budget
    tuned: dict[str, TunedConfig] = field(default_factory=dict)


@dataclass
class TransformerConfig(ModelConfig):
    rope_base: float = 10_000.0
    delayed_heads: int = 0  # ours, for comparison with osn: heads whose keys have the content of the token before


@dataclass
class FSNConfig(ModelConfig):
    """Also `kuramoto` (harmonics 1, no delay, no frustration) and `fsn_native` (feed_forward: native)."""

    harmonics: int = 2  # M, number of harmonics of the coupling kernel
    delay: bool = True  # couple also to the successor of the attended token
    frustration: bool = True  # complex kernel (Kuramoto-Sakaguchi angles); False: real
    # ours: how the kernel starts, alike everywhere (shared) or so that some coordinates follow and some keep (copying)
    kernel: str = "shared"
    coupling: float = 0.5  # ours: the strength it starts with; see fsn/kernel.py
    gate: str = "content"  # ours: constant | content, that is constant + linear in the query's features
    gate_spread: float = 1.0  # ours: root mean square that the content part of a gate starts with
    null: str = "zero"  # ours: score of the null slot, zero | learned, one a head | none: never attended
    feed_forward: str = "swiglu"  # ours: its form, swiglu | native: collective modes (paper)
    readout: str = "linear"  # ours: linear | tied to the embedding's phases
    grading: float = 1.0  # ours: embedding phases start in +-pi (j / d_h)^grading, narrow where the drift is fast
    rope_base: float = 10_000.0  # ours: as the transformer has it


@dataclass
class OSNConfig(ModelConfig):
    feed_forward: str = "swiglu"  # gelu, as published | swiglu, as the transformer has it
    theta: float = 1.2  # ours: locking threshold (rad) at the start; pi/2 is the published one
    learn_theta: bool = True  # ours: one a head
    position: bool = True  # ours: frequencies have a positional part
    drifts: int = 8  # ours: pairs of the positional part
    drift_base: float = 1000.0  # ours: positional drifts are base^(-f / drifts) rad a token
    # ours: of the square of the first and of the last head's frequencies at the start; those between in equal steps
    position_share: list[float] = field(default_factory=lambda: [0.3, 0.98])
    delayed_heads: int = 1  # ours: heads whose keys have the content of the token before
    lag: float = 1.0  # ours: queries of head h stand h lags (tokens) back at the start, learned; 0: not
    floor: float = 0.1  # ours: added to the sum of strengths where a token need not lock to itself
    query_frequency: str = "shared"  # shared | separate: queries have a map of their own, equal at the start
    frequency_width: int | None = None  # of the content part, a head; None: that of the head
    start: str = "calibrated"  # calibrated (ours) | published: PyTorch's own weights in attention, alpha = K = 1
    locked_fraction: float = 0.3  # ours: share of random pairs that lock at a calibrated start, in every head
    calibration_length: int | None = None  # ours: tokens of the sequences it holds for; None: data.context
    alpha: float | None = None  # coupling bandwidth of every head at the start; None: calibrated, or 1 as published
    K: float | None = None  # coupling strength of every head at the start, likewise
    top_k: int | None = None  # only so many of the strongest partners of a token (published as an option); None: all


@dataclass
class ScaleConfig:
    """A promise of a budget: `parameters` trainable parameters to within `tolerance`, for every model."""

    name: str = "???"
    parameters: int = 0
    tolerance: float = 0.005
    width: int = 0
    n_layers: int = 0
    n_heads: int = 0


@dataclass
class DataConfig:
    name: str = "???"  # what records and tables call the corpus
    source: str = "???"  # stdlib | enwik8 | code | text
    path: str | None = None  # a local file or folder instead of the official source
    split: list[float] = field(default_factory=lambda: [0.9, 0.05, 0.05])  # train, validation, test
    tokenizer: str = "bytes"  # bytes: a token is a byte | a byte-level tokenizer.json of the tokenizers library
    context: int = 256  # tokens a window holds
    cache_dir: str | None = None  # None: $SYNCHRONY_CACHE, else ~/.cache/synchrony


@dataclass
class TrainerConfig:
    name: str = "???"
    accelerator: str = "auto"  # auto | cpu | cuda
    devices: int = 1
    strategy: str = "auto"  # auto | ddp
    max_epochs: int | None = None
    max_steps: int | None = None  # the smaller of max_steps and max_epochs ends the run
    val_every: int | None = None  # steps between validations, besides the one at each epoch's end
    val_bytes: int | None = None  # first bytes of the split that validations before the last take; None: all
    last_val_bytes: int | None = None  # first bytes of the split that the last validation takes; None: all
    checkpoint_epochs: list[int] = field(default_factory=list)  # epochs whose checkpoint is kept
    checkpoint_every: int = 200  # steps between the checkpoints a run resumes from
    log_every: int = 10  # steps between training rows of the record
    micro_batch_size: int | None = None  # windows per forward pass; None: the whole batch at once
    threads: int | None = None  # CPU threads of torch; None: torch's own choice
    progress: bool = True


@dataclass
class OptimConfig:
    name: str = "???"
    lr: float | None = None  # peak learning rate; None: the model's tuned one
    # ours: multiple of it for the token embedding and other learned phases (rad); None: the model's tuned one, else 1.
    embedding_lr: float | None = None
    kernel_lr: float = 1.0  # multiple of it for the coupling kernels of an FSN, and for alpha, K and theta of SSA
    gate_lr: float = 1.0  # multiple of it for the gates of an FSN's scores
    readout_lr: float = 1.0  # multiple of it for an untied readout
    schedule: str = "cosine"  # cosine | linear | constant, after the warm-up
    warmup_steps: int = 100
    final_lr: float = 0.1  # last learning rate as a fraction of the peak
    weight_decay: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    eps: float = 1e-8
    grad_clip: float = 1.0  # 0: no clipping


@dataclass
class SSAConfig:
    """How Selective Synchronization Attention is computed. All give the same, gradients too, up to rounding."""

    # auto: flex for inference on CUDA, else chunked | chunked: O(N) memory | flex: FlexAttention | dense: O(N^2) memory
    backend: str = "auto"


@dataclass
class LoggerConfig:
    name: str = "???"  # wandb | none
    mode: str = "offline"  # offline | online
    project: str = "synchrony"
    entity: str | None = None
    timeout: float = 30.0  # seconds that W&B may take to finish after training before it is left behind


@dataclass
class RunConfig:
    model: Any = None  # one of MODELS
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    ssa: SSAConfig = field(default_factory=SSAConfig)
    task: str = "language"  # language
    seed: int = 0
    batch_size: int = 16  # windows per optimizer step, over all devices
    precision: str = "32"  # 32 | bf16
    compile: bool = False
    runs: str = "runs"  # folder in which run directories are made
    run_dir: str | None = None  # this run directory instead of the hashed one
    overwrite: bool = False  # start over; the old run directory is moved aside
    plan: bool = False  # print what would be run, and stop


@dataclass
class EvaluationDataConfig:
    """Where the corpus of the run is now; it must be the same content. None: where it was in training."""

    path: str | None = None
    cache_dir: str | None = None


@dataclass
class EvaluationConfig:
    """What `eval.py` may be asked. The run itself says which data, model and precision."""

    run: str | None = None  # run directory
    # loss: bits per byte of a split | sample: write text | synchrony: what the heads look at, with a picture
    # copy_depth: bits per byte by how long a byte's context matches what came before
    # coupling: trained coupling functions and order parameters of an FSN, with a picture
    task: str = "loss"
    split: str = "test"  # train | validation | test
    checkpoint: str = "last"  # last: the newest whole one | start: step 0 | a .ckpt file, of the run or by its path
    context: int | None = None  # tokens a window holds; None: as in training
    # loss: targets that a window adds, each with context - stride tokens before it or more; None: the context
    stride: int | None = None
    batch_size: int = 64  # windows per forward pass; does not change the result
    max_bytes: int | None = None  # only the first bytes of the split
    data: EvaluationDataConfig = field(default_factory=EvaluationDataConfig)
    device: str = "auto"  # auto: the kind that the run was trained on, if it is there | cpu | cuda
    ssa: SSAConfig = field(default_factory=SSAConfig)  # of an osn; not what it was trained with
    prompt: str = ""  # sample: what the text begins with; empty: a newline
    length: int = 400  # sample: bytes to write after the prompt
    temperature: float = 0.8  # sample: 0 takes the likeliest byte
    top_p: float = 0.95  # sample: draw from the likeliest bytes that hold this much probability
    seed: int = 0  # sample


@dataclass
class BenchmarkConfig:
    """What `bench.py` measures. task=steps: full training steps (forward, backward, optimizer) of models side by side,
    and the loading of a batch. task=layers: forward and backward of attention layers against length.
    """

    task: str = "steps"  # steps | layers
    models: list[str] = field(default_factory=lambda: ["transformer", "kuramoto", "fsn", "fsn_native"])
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    batch_size: int = 16  # windows a step
    context: int = 256  # bytes a window holds
    # layers: the first one is the unit; legal are LAYERS and BLOCKS, below
    layers: list[str] = field(default_factory=lambda: list(LAYERS))
    lengths: list[int] = field(default_factory=lambda: [128, 256, 512, 1024, 2048, 4096])  # layers: tokens
    d_model: int = 512  # layers
    n_heads: int = 8  # layers
    rounds: int = 9  # in each round every model, or layer and length, takes one step; medians over rounds
    device: str = "cpu"  # cpu | cuda
    precision: str = "32"  # 32 | bf16
    compile: bool = False
    backward: bool = True  # layers: forward and backward; false: forward alone, without gradients
    threads: int | None = None  # CPU threads of torch; None: torch's own choice
    output: str | None = None  # a JSON file for the result
    figure: str | None = None  # layers: draw time and memory against length into FIGURE.png and FIGURE.svg


MODELS: dict[str, type[ModelConfig]] = {
    "transformer": TransformerConfig,
    "kuramoto": FSNConfig,
    "fsn": FSNConfig,
    "fsn_native": FSNConfig,
    "osn": OSNConfig,
}

BACKENDS = ("auto", "chunked", "flex", "dense")  # as in ssa.backends

# Legal values of the fields that are names.
CHOICES: dict[str, tuple[str, ...]] = {
    "model.kernel": ("shared", "copying"),
    "model.gate": ("constant", "content"),
    "model.null": ("zero", "learned", "none"),
    "model.query_frequency": ("shared", "separate"),
    "model.start": ("calibrated", "published"),
    "model.readout": ("linear", "tied"),
    "data.source": ("stdlib", "enwik8", "code", "text"),
    "trainer.accelerator": ("auto", "cpu", "cuda"),
    "trainer.strategy": ("auto", "ddp"),
    "optim.name": ("adamw",),
    "optim.schedule": ("cosine", "linear", "constant"),
    "logger.name": ("wandb", "none"),
    "logger.mode": ("offline", "online"),
    "ssa.backend": BACKENDS,
    "task": ("language",),
    "precision": ("32", "bf16"),
}

EVALUATION_CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("loss", "sample", "synchrony", "copy_depth", "coupling"),
    "split": ("train", "validation", "test"),
    "device": ("auto", "cpu", "cuda"),
    "ssa.backend": BACKENDS,
}

LAYERS = (
    "sdpa",
    "softmax_explicit",
    "transformer",
    "fsn",
    "ssa",
    "ssa_osn",
    "ssa_bidirectional",
    "ssa_dense",
    "published",
)
BLOCKS = ("transformer_block", "osn_block", "published_block")  # with a feed-forward, as in the table of SSA's author

BENCHMARK_CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("steps", "layers"),
    "device": ("cpu", "cuda"),
    "precision": ("32", "bf16"),
}
