"""Speed of language models that are not trained, in turn within one process: the loss of a split, prompts, decoding.

Text is random bytes and the weights are those of the start, neither of which changes what is computed. As in `steps`,
what to quote is the median over rounds of the ratio to the first model.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.compose import compose
from configs.counted import counted
from configs.schema import BenchmarkConfig
from data.split import Split
from measures.loss import evaluate
from synchrony_blocks.sampling import continued
from training.attention_backend import set_backend
from training.benchmarks.steps import VOCABULARY_SIZE, ratio, seconds_of
from training.budget import resolve_shape
from training.build import build_model, parameters_by_part
from training.run_record.device import require_cuda

BATCHES = 2  # forward passes of an evaluation (our choice)


@dataclass(frozen=True)
class InferenceTiming:
    """One model. Ratios: medians over rounds of its time over the first model's in the same round."""

    model: str
    parameters: int
    shape: str
    evaluated_per_second: float  # tokens whose loss is told, `eval.py task=loss`
    evaluation_ratio: float
    read_per_second: float  # tokens of prompts, in one pass that fills the caches
    reading_ratio: float
    decoded_per_second: float  # tokens that are written, over all rows, `eval.py task=sample`
    decoding_ratio: float


def measure_inference(config: BenchmarkConfig, on_round: Callable[[int], None]) -> list[InferenceTiming]:
    """Time `config.rounds` of each. Raises UserError when CUDA is asked for and absent."""
    if config.device == "cuda":
        require_cuda("device", "device=cpu")
    torch.set_float32_matmul_precision("high")  # as in training; a CPU takes no notice
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    built = {name: _built(config, name) for name in config.models}
    actions = {
        (name, what): action for name, (model, _) in built.items() for what, action in _actions(config, model).items()
    }
    for action in actions.values():
        action()
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in actions}
    for done in range(config.rounds):
        for key, action in actions.items():
            seconds[key].append(seconds_of(action))
        on_round(done + 1)
    first = config.models[0]
    tokens = {
        "evaluation": BATCHES * config.batch_size * config.context,
        "reading": config.batch_size * config.context,
        "decoding": config.batch_size * config.context,
    }

    def speed(name: str, what: str) -> float:
        return tokens[what] / statistics.median(seconds[name, what])

    return [
        InferenceTiming(
            model=name,
            parameters=parameters_by_part(model)["total"],
            shape=shape,
            evaluated_per_second=speed(name, "evaluation"),
            evaluation_ratio=ratio(seconds[name, "evaluation"], seconds[first, "evaluation"]),
            read_per_second=speed(name, "reading"),
            reading_ratio=ratio(seconds[name, "reading"], seconds[first, "reading"]),
            decoded_per_second=speed(name, "decoding"),
            decoding_ratio=ratio(seconds[name, "decoding"], seconds[first, "decoding"]),
        )
        for name, (model, shape) in built.items()
    ]


def _built(config: BenchmarkConfig, name: str) -> tuple[Any, str]:
    run = resolve_shape(replace(compose("train", [f"model={name}"]), scale=config.scale), VOCABULARY_SIZE)
    torch.manual_seed(0)
    model = build_model(run.model, VOCABULARY_SIZE).to(config.device).eval()
    set_backend(model, run.ssa.backend, config.device, gradients=False)
    heads = counted(run.model.n_heads, "head")
    shape = f"{run.model.n_layers} x {run.model.width}, {heads}, feed-forward {run.model.ff_width}"
    return model, shape


def _actions(config: BenchmarkConfig, model: Any) -> dict[str, Callable[[], object]]:
    """What is timed of a model."""
    n_tokens = BATCHES * config.batch_size * config.context
    split = Split(np.random.default_rng(0).integers(0, VOCABULARY_SIZE, n_tokens, dtype=np.uint8))
    prompt = torch.from_numpy(split.tokens[: config.batch_size * config.context].astype(np.int64))
    prompt = prompt.view(config.batch_size, -1).to(config.device)

    def written(prompt: Tensor, n_tokens: int) -> list[Tensor]:
        with torch.autocast(config.device, torch.bfloat16, enabled=config.precision == "bf16"):
            return list(continued(model, prompt, n_tokens))  # each is drawn on the host, so none is under way

    return {
        "evaluation": lambda: evaluate(model, split, config.context, config.batch_size, precision=config.precision),
        "reading": lambda: written(prompt, 1),
        "decoding": lambda: written(prompt[:, :1], config.context),
    }
