"""Time and memory of attention layers against length, in turn within one process.

Every layer maps (1, N, D) to (1, N, D) with its own projections. `ssa` is the plainest causal layer, `ssa_osn` what a
layer of `model=osn` computes. `published` is the published operator computed step by step as its equations say, with
plain autograd, which is what anyone would write first. It is bidirectional, as are `ssa_bidirectional` and
`sdpa_bidirectional`; all others are causal. The blocks have norms, residuals and a GELU feed-forward of 4 D around
their layer: 3.1 million parameters at D = 512, as the blocks that the author of SSA timed.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import with_config
from torch import Tensor, nn

from baseline import SelfAttention
from configs.schema import BenchmarkConfig
from fsn import SynchronizationAttention
from measures.flops import count_flops
from ssa import SelectiveSynchronizationAttention
from ssa.network import GELU, POSITIONS
from ssa.published import PublishedSteps
from synchrony_blocks.decoder import Block, DecoderBlock
from training.run_record.device import require_cuda
from training.run_record.strict_json import Count, Number

FIT_FROM = 1024  # tokens; below it the parts of memory that do not grow weigh in


@with_config(extra="forbid")
@dataclass(frozen=True)
class LayerTiming:
    """One layer at one length. `ratio`: median over rounds of its time over that of the first layer in the round."""

    layer: str
    tokens: Count
    seconds: Number  # median of forward and backward, or of forward
    ratio: Number
    peak_memory_bytes: Count  # of tensors, above what there was before: activations, buffers, gradients


class SDPA(nn.Module):
    """Causal scaled dot-product attention and nothing else: no positions. (B, N, D) -> (B, N, D)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        return self.out(self.mix(q, k, v).transpose(1, 2).flatten(2))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, H, N, d) each -> (B, H, N, d): fused, which holds no N x N matrix."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class BidirectionalSDPA(SDPA):
    """The same without a mask, beside `ssa_bidirectional`."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class ExplicitSoftmax(SDPA):
    """The same, written out: one N x N matrix of each head is kept for the backward pass, and two are made on the way.

    What attention costs without a fused kernel: the softmax that papers compare the memory of linear forms with.
    """

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        return scores.masked_fill(future, -torch.inf).softmax(-1) @ v


LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "sdpa": SDPA,
    "sdpa_bidirectional": BidirectionalSDPA,
    "softmax_explicit": ExplicitSoftmax,
    "transformer": SelfAttention,
    "fsn": SynchronizationAttention,
    "ssa": lambda d_model, n_heads: SelectiveSynchronizationAttention(d_model, n_heads),
    "ssa_osn": lambda d_model, n_heads: SelectiveSynchronizationAttention(
        d_model, n_heads, positions=POSITIONS, delayed_heads=1
    ),
    "ssa_bidirectional": lambda d_model, n_heads: SelectiveSynchronizationAttention(d_model, n_heads, causal=False),
    "ssa_dense": lambda d_model, n_heads: SelectiveSynchronizationAttention(
        d_model, n_heads, backend="dense", cap=None
    ),
    "published": PublishedSteps,
    "transformer_block": lambda d_model, n_heads: _block(d_model, SDPA(d_model, n_heads)),
    "osn_block": lambda d_model, n_heads: _block(d_model, LAYERS["ssa_osn"](d_model, n_heads)),
    "published_block": lambda d_model, n_heads: _block(d_model, PublishedSteps(d_model, n_heads)),
}


def _block(d_model: int, mixer: nn.Module) -> nn.Module:
    return DecoderBlock(d_model, cast(Block, mixer), GELU(d_model, 4 * d_model))


def measure_layers(config: BenchmarkConfig, on_round: Callable[[int], None] = lambda done: None) -> list[LayerTiming]:
    """Take `config.rounds` steps of every layer at every length, in turn; in units of the first of `config.layers`.

    Raises UserError when CUDA is asked for and absent.
    """
    if config.device == "cuda":
        require_cuda("device", "device=cpu")
    torch.set_float32_matmul_precision("high")  # as in training; a CPU takes no notice
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    layers = {name: LAYERS[name](config.d_model, config.n_heads).to(config.device) for name in config.layers}
    inputs = {n: torch.randn(1, n, config.d_model, device=config.device) for n in config.lengths}
    for x in inputs.values():  # each length once: tables, kernels, compilation
        for layer in layers.values():
            step(layer, x, config.backward)
    memory = {(name, n): peak_bytes(layers[name], x, config.backward) for n, x in inputs.items() for name in layers}
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in memory}
    for done in range(config.rounds):
        for n, x in inputs.items():
            for name, layer in layers.items():
                start = time.perf_counter()
                step(layer, x, config.backward)
                seconds[name, n].append(time.perf_counter() - start)
        on_round(done + 1)
    first = config.layers[0]
    return [
        LayerTiming(
            layer=name,
            tokens=n,
            seconds=statistics.median(taken),
            ratio=statistics.median(ours / theirs for ours, theirs in zip(taken, seconds[first, n], strict=True)),
            peak_memory_bytes=memory[name, n],
        )
        for (name, n), taken in seconds.items()
    ]


def step(layer: nn.Module, x: Tensor, backward: bool = True) -> None:
    """Forward and backward, with gradients of the weights and of x; without `backward` forward alone."""
    if backward:
        layer.zero_grad()
        out: Tensor = layer(x.detach().requires_grad_())
        out.sum().backward()
    else:
        with torch.no_grad():
            layer(x)
    if x.is_cuda:
        torch.cuda.synchronize()


def peak_bytes(layer: nn.Module, x: Tensor, backward: bool = True) -> int:
    """The most bytes of tensors that a step holds at once, above what there was before it."""
    layer.zero_grad()
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(layer, x, backward)
        return torch.cuda.max_memory_allocated() - before
    # Resident memory would count what a compiler or an allocator keeps; the profiler sees each allocation by itself.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(layer, x, backward)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def forward_flops(layer: str, d_model: int, n_heads: int, tokens: int) -> int:
    """Floating-point operations per token of a layer's forward pass: its matrix products, counted on the meta device.

    Attention is counted over the whole window, masked half included, as is the custom of published tables; what is
    done elementwise (softmax, or the strength of a pair) is not counted.
    """
    with torch.device("meta"):
        built = LAYERS[layer](d_model, n_heads)
        x = torch.zeros(1, tokens, d_model)
    with torch.no_grad():
        return count_flops(lambda: built(x)) // tokens


def growth(timings: Sequence[LayerTiming], layer: str, quantity: Callable[[LayerTiming], float]) -> float | None:
    """b of the fit a N^b to a layer's time or memory over the lengths from `FIT_FROM` on, least squares on logarithms
    (our choice); None for fewer than two such lengths.
    """
    points = [(t.tokens, quantity(t)) for t in timings if t.layer == layer and t.tokens >= FIT_FROM]
    if len({n for n, _ in points}) < 2:
        return None
    N, value = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(N, value, 1)[0])


def memory_exponent(timings: Sequence[LayerTiming], layer: str) -> float | None:
    """How peak memory grows with length; None for fewer than two lengths to fit."""
    return growth(timings, layer, lambda t: t.peak_memory_bytes)
