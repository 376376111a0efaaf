"""Ranges of single values and agreements between them, one readable line for each mistake."""

import math
import re
from operator import attrgetter
from typing import Any

from configs.errors import UserError
from configs.schema import BLOCKS, LAYERS, BenchmarkConfig, EvaluationConfig, FSNConfig, OSNConfig, RunConfig
from configs.strict import illegal_value

FEED_FORWARDS = {FSNConfig: ("swiglu", "native"), OSNConfig: ("swiglu", "gelu")}
# Keys of `eval.py` that not every task uses, and the tasks that do.
EVALUATION_KEYS = {
    **dict.fromkeys(("split", "data.path", "data.cache_dir"), ("loss", "synchrony", "copy_depth", "coupling")),
    **dict.fromkeys(("context", "batch_size", "max_bytes"), ("loss", "copy_depth")),
    "stride": ("loss",),
    **dict.fromkeys(("prompt", "length", "temperature", "top_p", "seed"), ("sample",)),
}
MOST_THREADS = 1024  # torch crashes on absurd numbers instead of refusing them


def check_run(config: RunConfig, scales: list[str]) -> None:
    """Raise UserError for the first value of a run config that is out of range or contradicts another."""
    model, data, trainer, optim = config.model, config.data, config.trainer, config.optim
    for key, value in {"model.name": model.name, "scale.name": config.scale.name, "data.name": data.name}.items():
        # These names become part of the run directory's name.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", value):
            raise UserError(f"{key}={value}: takes letters, digits, '.', '_' and '-' only; type for example {key}=mine")

    for key, value in {"runs": config.runs, "run_dir": config.run_dir, "data.path": data.path}.items():
        if value is not None and not value.strip():
            raise UserError(f"{key}= is empty; type {key}=FOLDER, or leave it out")

    _check_seed(config.seed)
    at_least("batch_size", config.batch_size, 1, 16)

    at_least("scale.parameters", config.scale.parameters, 1, 1_000_000)
    between("scale.tolerance", config.scale.tolerance, 0, 1, 0.005)
    for name, example in {"width": 160, "n_layers": 4, "n_heads": 4}.items():
        at_least(f"scale.{name}", getattr(config.scale, name), 1, example)
        at_least(f"model.{name}", getattr(model, name), 1, example)
    at_least("model.ff_width", model.ff_width, 1, 256)
    at_least("model.harmonics", getattr(model, "harmonics", None), 1, 2)
    _finite("model.coupling", getattr(model, "coupling", None), 0.5)
    at_least("model.gate_spread", getattr(model, "gate_spread", None), 0, 1.0)
    at_least("model.grading", getattr(model, "grading", None), 0, 1.0)
    above("model.rope_base", getattr(model, "rope_base", None), 1, 10_000)
    forms = FEED_FORWARDS.get(type(model))
    if forms and model.feed_forward not in forms:
        raise illegal_value("model.feed_forward", model.feed_forward, forms)
    at_least("model.frequency_width", getattr(model, "frequency_width", None), 1, 16)
    at_least("model.drifts", getattr(model, "drifts", None), 1, 8)
    above("model.drift_base", getattr(model, "drift_base", None), 1, 1000)
    at_least("model.lag", getattr(model, "lag", None), 0, 1.0)
    at_least("model.floor", getattr(model, "floor", None), 0, 0.1)
    at_least("model.delayed_heads", getattr(model, "delayed_heads", None), 0, 2)
    shares = getattr(model, "position_share", [0.3, 0.98])
    if len(shares) != 2 or not all(0 < share < 1 for share in shares):
        raise UserError(
            f"model.position_share={shares}: takes two numbers between 0 and 1; type for example [0.3,0.98]"
        )
    if getattr(model, "lag", 0) and not getattr(model, "position", True):
        raise UserError("model.position=false leaves model.lag no positions to go back in: type model.lag=0 too")
    at_least("model.calibration_length", getattr(model, "calibration_length", None), 2, 256)
    at_least("model.top_k", getattr(model, "top_k", None), 1, 16)
    if (getattr(model, "top_k", None) or 0) > data.context:
        raise UserError(
            f"model.top_k={model.top_k} is more than the {data.context} tokens of data.context; type model.top_k=16"
        )
    for name in ("alpha", "K"):
        above(f"model.{name}", getattr(model, name, None), 0, 1.0)
        between(f"model.{name}", getattr(model, name, None) or 1.0, 0, 1e6, 1.0)
    between("model.theta", getattr(model, "theta", 1.2), 1e-3, math.pi / 2, 1.2)
    if getattr(model, "learn_theta", False) and model.theta == math.pi / 2:
        raise UserError(f"model.theta={model.theta} cannot be learned from there: type model.learn_theta=false too")
    above("model.locked_fraction", getattr(model, "locked_fraction", None), 0, 0.3)
    between("model.locked_fraction", getattr(model, "locked_fraction", 0.3), 0, 0.99, 0.3)
    _divides("model.n_heads", model.n_heads, "model.width", model.width)
    for scale, tuned in model.tuned.items():
        if scale not in scales:
            raise UserError(f"model.tuned.{scale}: tuned values belong to a scale; legal are {', '.join(scales)}")
        for name in ("width", "n_layers", "n_heads"):
            at_least(f"model.tuned.{scale}.{name}", getattr(tuned, name), 1, 4)
        above(f"model.tuned.{scale}.lr", tuned.lr, 0, 0.003)
        above(f"model.tuned.{scale}.embedding_lr", tuned.embedding_lr, 0, 1.0)
        _divides(f"model.tuned.{scale}.n_heads", tuned.n_heads, f"model.tuned.{scale}.width", tuned.width)

    at_least("data.context", data.context, 2, 256)
    _check_split(data.split)
    if data.source == "text" and not data.path:
        raise UserError("data=text needs a file: type data=text data.path=FILE")

    for name, example in {
        "devices": 1,
        "max_epochs": 1,
        "max_steps": 1000,
        "val_every": 500,
        "val_bytes": 100_000,
        "last_val_bytes": 1_000_000,
        "checkpoint_every": 200,
        "log_every": 10,
        "micro_batch_size": 8,
        "threads": 2,
    }.items():
        at_least(f"trainer.{name}", getattr(trainer, name), 1, example)
    if trainer.max_epochs is None and trainer.max_steps is None:
        raise UserError("trainer.max_epochs and trainer.max_steps are both null: type for example trainer.max_epochs=1")
    if trainer.threads is not None and trainer.threads > MOST_THREADS:
        raise UserError(
            f"trainer.threads={trainer.threads}: at most {MOST_THREADS}; type for example trainer.threads=2"
        )
    for epoch in trainer.checkpoint_epochs:
        at_least("trainer.checkpoint_epochs", epoch, 1, "[10,30]")
    _divides("trainer.devices", trainer.devices, "batch_size", config.batch_size)
    if trainer.micro_batch_size is not None and config.batch_size // trainer.devices % trainer.micro_batch_size:
        raise UserError(
            f"trainer.micro_batch_size={trainer.micro_batch_size} does not divide the "
            f"{config.batch_size // trainer.devices} windows that batch_size={config.batch_size} gives each of "
            f"{trainer.devices} device(s); type a divisor of {config.batch_size // trainer.devices}"
        )

    above("optim.lr", optim.lr, 0, 0.003)
    for name in ("embedding_lr", "kernel_lr", "gate_lr", "readout_lr"):
        above(f"optim.{name}", getattr(optim, name), 0, 1.0)
    at_least("optim.warmup_steps", optim.warmup_steps, 0, 100)
    between("optim.final_lr", optim.final_lr, 0, 1, 0.1)
    at_least("optim.weight_decay", optim.weight_decay, 0, 0.1)
    above("optim.eps", optim.eps, 0, 1e-8)
    at_least("optim.grad_clip", optim.grad_clip, 0, 1.0)
    if len(optim.betas) != 2 or not all(0 <= beta < 1 for beta in optim.betas):
        raise UserError(f"optim.betas={optim.betas}: takes two numbers in [0, 1); type for example [0.9,0.95]")
    above("logger.timeout", config.logger.timeout, 0, 30)
    _check_idle(config)


def check_evaluation(config: EvaluationConfig) -> None:
    """Raise UserError for the first value of an evaluation config that is missing or out of range."""
    if not config.run:
        raise UserError("which run? type run=PATH, a run directory such as runs/fsn-1m-stdlib-seed0-0123456789")
    at_least("context", config.context, 2, 256)
    at_least("batch_size", config.batch_size, 1, 64)
    at_least("max_bytes", config.max_bytes, 1, 100_000)
    at_least("stride", config.stride, 1, 64)
    at_least("length", config.length, 1, 400)
    at_least("temperature", config.temperature, 0, 0.8)
    above("top_p", config.top_p, 0, 0.95)
    between("top_p", config.top_p, 0, 1, 0.95)
    _check_seed(config.seed)
    defaults = EvaluationConfig()
    for key, tasks in EVALUATION_KEYS.items():
        if config.task not in tasks and attrgetter(key)(config) != attrgetter(key)(defaults):
            raise UserError(f"{key}= changes nothing with task={config.task}; leave it out, or type task={tasks[0]}")


def check_benchmark(config: BenchmarkConfig, models: list[str]) -> None:
    """Raise UserError for the first value of a benchmark config that is unknown or out of range."""
    for model in config.models or [""]:
        if model not in models:
            raise UserError(f"models={config.models}: legal are {', '.join(models)}; type models=[transformer,fsn]")
    for layer in config.layers or [""]:
        if layer not in LAYERS + BLOCKS:
            raise UserError(f"layers={config.layers}: legal are {', '.join(LAYERS + BLOCKS)}; type layers=[sdpa,ssa]")
    for length in config.lengths or [0]:
        at_least("lengths", length, 2, "[512,1024]")
    at_least("d_model", config.d_model, 1, 512)
    at_least("n_heads", config.n_heads, 1, 8)
    _divides("n_heads", config.n_heads, "d_model", config.d_model)
    if config.task == "layers" and config.d_model // config.n_heads % 2:
        raise UserError(f"d_model={config.d_model} over n_heads={config.n_heads} is an odd head width; type n_heads=8")
    if config.task == "layers" and (config.precision, config.compile) != ("32", False):
        raise UserError("task=layers measures float32 without compile; leave out precision= and compile=")
    if config.figure is not None and config.task != "layers":
        raise UserError("figure= is drawn by task=layers; type task=layers too")
    at_least("batch_size", config.batch_size, 1, 16)
    at_least("context", config.context, 2, 256)
    at_least("rounds", config.rounds, 1, 9)
    at_least("threads", config.threads, 1, 2)


# Written as `not (value >= low)` so that nan fails; inf is never a setting.
def at_least(key: str, value: float | None, low: float, example: Any) -> None:
    """Raise UserError unless `value` is None or a finite number >= `low`."""
    if value is not None and not (low <= value < math.inf):
        raise UserError(f"{key}={value}: must be at least {low}; type for example {key}={example}")


def above(key: str, value: float | None, low: float, example: Any) -> None:
    """Raise UserError unless `value` is None or a finite number > `low`."""
    if value is not None and not (low < value < math.inf):
        raise UserError(f"{key}={value}: must be above {low}; type for example {key}={example}")


def between(key: str, value: float, low: float, high: float, example: Any) -> None:
    """Raise UserError unless `value` lies in [`low`, `high`]."""
    if not (low <= value <= high):
        raise UserError(f"{key}={value}: must lie between {low} and {high}; type for example {key}={example}")


def _check_seed(seed: int) -> None:
    at_least("seed", seed, 0, 0)
    if seed >= 2**32:
        raise UserError(f"seed={seed}: must be below {2**32}; type for example seed=0")


def _finite(key: str, value: float | None, example: Any) -> None:
    if value is not None and not math.isfinite(value):
        raise UserError(f"{key}={value}: must be a finite number; type for example {key}={example}")


def _divides(part_key: str, part: int | None, whole_key: str, whole: int | None) -> None:
    if part is None or whole is None or whole % part == 0:
        return
    lower, upper = whole // part * part, (whole // part + 1) * part
    fits = f"{lower} or {upper}" if lower else f"{upper}"
    raise UserError(f"{whole_key}={whole} is not divisible by {part_key}={part}; type for example {whole_key}={fits}")


def _check_idle(config: RunConfig) -> None:
    """Refuse what would change nothing: its record would claim an ablation that did not take place."""
    model, optim = config.model, config.optim
    oscillators, positions, shares = hasattr(model, "harmonics"), getattr(model, "position", True), [0.3, 0.98]
    for key, is_set, works, needs in (
        ("model.null", getattr(model, "null", "zero") != "zero", getattr(model, "delay", True), "model.delay=true"),
        (
            "model.gate_spread",
            getattr(model, "gate_spread", 1) != 1,
            getattr(model, "gate", "") != "constant",
            "model.gate=content",
        ),
        (
            "model.locked_fraction",
            getattr(model, "locked_fraction", 0.3) != 0.3,
            getattr(model, "start", "calibrated") == "calibrated",
            "model.start=calibrated",
        ),
        (
            "model.floor",
            getattr(model, "floor", 0.1) != 0.1,
            bool(
                getattr(model, "lag", 1)
                or getattr(model, "delayed_heads", 1)
                or getattr(model, "query_frequency", "") == "separate"
            ),
            "model.lag=1, model.delayed_heads=1 or model.query_frequency=separate",
        ),
        ("model.drifts", getattr(model, "drifts", 8) != 8, positions, "model.position=true"),
        ("model.drift_base", getattr(model, "drift_base", 1000) != 1000, positions, "model.position=true"),
        ("model.position_share", getattr(model, "position_share", shares) != shares, positions, "model.position=true"),
        (
            "optim.kernel_lr",
            optim.kernel_lr != 1,
            oscillators or isinstance(model, OSNConfig),
            "model=fsn or model=osn",
        ),
        ("optim.gate_lr", optim.gate_lr != 1, oscillators, "model=fsn"),
        ("optim.final_lr", optim.final_lr != 0.1, optim.schedule != "constant", "optim.schedule=cosine"),
        (
            "optim.readout_lr",
            optim.readout_lr != 1,
            getattr(model, "readout", "tied") != "tied",
            "an untied readout, model=fsn model.readout=linear",
        ),
    ):
        if is_set and not works:
            raise UserError(f"{key} changes nothing here: it needs {needs}; leave it out, or type that too")


def _check_split(split: list[float]) -> None:
    given = f"data.split={split}".replace(" ", "")
    if len(split) != 3 or not all(part > 0 for part in split):
        raise UserError(f"{given}: takes three positive shares (train, validation, test); type [0.9,0.05,0.05]")
    if not math.isclose(sum(split), 1.0, abs_tol=1e-6):
        raise UserError(f"{given}: the shares sum to {sum(split):g}, not to 1; type for example [0.9,0.05,0.05]")
