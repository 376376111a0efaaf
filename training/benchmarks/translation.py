"""Time of translators, in turn within one process: a training step, and beam search with its caches and without.

Sentences are random tokens of one length, that of both languages, so nothing is padding. As in `steps`, what to quote
is the median over rounds of the ratio to the first model.

Legend: S sentences, L tokens of a sentence.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from configs.compose import compose
from configs.counted import counted
from configs.schema import LONGEST_SEARCHED, BenchmarkConfig
from measures.beam_search import beam_search
from training.benchmarks.steps import WARM_UP
from training.budget import resolve_shape
from training.build import build_model, parameter_groups, parameters_by_part
from training.run_record.device import require_cuda
from training.translation import smoothed_loss

EOS = 0
BEAM = 4
LONGEST = LONGEST_SEARCHED + 1  # tokens of a translation that is searched: an untrained model ends none before
SEARCHED = 32  # sentences at a time in a search (our choice)


@dataclass(frozen=True)
class TranslationTiming:
    """One model. Ratios: medians over rounds of its time over the first model's in the same round."""

    model: str
    parameters: int
    shape: str
    seconds: float  # median of a training step
    tokens_per_second: float  # of translations, in training
    ratio: float  # of the training step
    search_seconds: float  # median of a beam search with caches
    sentences_per_second: float
    search_ratio: float
    uncached_ratio: float  # of a beam search without caches over the same model's with caches


class Uncached:
    """A translator that reads the whole prefix again for every token: what caches are measured against."""

    def __init__(self, translator: Any) -> None:
        self.translator = translator

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """As the translator does."""
        memory: Tensor = self.translator.encode(source, source_mask)
        return memory

    def init_cache(self, memory: Tensor, source_mask: Tensor | None = None) -> list[dict[str, Tensor | None]]:
        """The memory, and no token yet."""
        return [{"memory": memory, "mask": source_mask, "tokens": memory.new_empty(len(memory), 0, dtype=torch.int64)}]

    def step(self, token: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits (B, V) after one more token (B,)."""
        (kept,) = cache
        tokens = torch.cat((kept["tokens"], token[:, None]), dim=1)
        attended = self.translator.attended(kept["memory"], kept["mask"])
        last = self.translator.decoder.hidden(tokens, **attended)[:, -1]
        return self.translator.logits(last), [{**kept, "tokens": tokens}]


def measure_translation(config: BenchmarkConfig, on_round: Callable[[int], None]) -> list[TranslationTiming]:
    """Time `config.rounds` of each. Raises UserError when CUDA is asked for and absent."""
    if config.device == "cuda":
        require_cuda("device", "device=cpu")
    torch.set_float32_matmul_precision("high")  # as in training; a CPU takes no notice
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    built = {name: _built(config, name) for name in config.models}
    actions = {
        (name, what): action
        for name, (model, optimizer, _) in built.items()
        for what, action in _actions(config, model, optimizer).items()
    }
    for (_, what), action in actions.items():
        for _ in range(WARM_UP if what == "step" else 1):
            action()
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in actions}
    for done in range(config.rounds):
        for key, action in actions.items():
            start = time.perf_counter()
            action()
            seconds[key].append(time.perf_counter() - start)
        on_round(done + 1)
    first = config.models[0]

    def ratio(ours: tuple[str, str], theirs: tuple[str, str]) -> float:
        return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))

    return [
        TranslationTiming(
            model=name,
            parameters=parameters_by_part(model)["total"],
            shape=shape,
            seconds=(step := statistics.median(seconds[name, "step"])),
            tokens_per_second=config.batch_size * config.context / step,
            ratio=ratio((name, "step"), (first, "step")),
            search_seconds=(search := statistics.median(seconds[name, "search"])),
            sentences_per_second=SEARCHED / search,
            search_ratio=ratio((name, "search"), (first, "search")),
            uncached_ratio=ratio((name, "uncached"), (name, "search")),
        )
        for name, (model, _, shape) in built.items()
    ]


def _built(config: BenchmarkConfig, name: str) -> tuple[nn.Module, torch.optim.Optimizer, str]:
    run = compose("train", ["task=translation", "data=multi30k", f"model={name}"])
    run = resolve_shape(replace(run, scale=config.scale), config.vocabulary)
    torch.manual_seed(0)
    model = build_model(run.model, config.vocabulary, "translation").to(config.device)
    optimizer = torch.optim.AdamW(parameter_groups(model, run.optim), lr=1e-3, fused=True)
    shape = f"2 x {run.model.n_layers} x {run.model.width}, {counted(run.model.n_heads, 'head')}, "
    return model, optimizer, f"{shape}feed-forward {run.model.ff_width}"


def _actions(
    config: BenchmarkConfig, model: Any, optimizer: torch.optim.Optimizer
) -> Mapping[str, Callable[[], object]]:
    """What is timed of a model."""
    shape, device = (config.batch_size, config.context), config.device
    source, target = torch.randint(1, config.vocabulary, (2, *shape), device=device)
    mask = torch.ones(shape, dtype=torch.bool, device=device)
    inputs = target.roll(1, 1)

    def step() -> None:
        model.train()
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            smoothed, _ = smoothed_loss(model, source, inputs, mask, target, 0.1)
        (smoothed / target.numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    def search(searched: Any) -> object:
        model.eval()
        few = source[:SEARCHED], mask[:SEARCHED]
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            return beam_search(searched, *few, EOS, BEAM, more_tokens=LONGEST - config.context)

    return {"step": step, "search": lambda: search(model), "uncached": lambda: search(Uncached(model))}
