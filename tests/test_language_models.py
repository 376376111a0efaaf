"""What every language model owes: exact causality, decoding equal to the full pass, and a fair start."""

import math
from typing import Any

import pytest
import torch

from configs.compose import compose
from configs.schema import MODELS
from synchrony_blocks import Decoder
from synchrony_blocks.cache import TokenBuffer, reserve
from training.budget import resolve_shape
from training.build import build_model

VARIANTS = [
    *([f"model={name}"] for name in MODELS),
    ["model=fsn", "model.harmonics=3", "model.delay=false", "model.readout=tied"],
    ["model=fsn", "model.gate=constant", "model.frustration=false"],
    ["model=fsn", "model.null=learned", "model.kernel=copying"],
    ["model=fsn", "model.null=none", "model.grading=0", "model.gate_spread=0"],
    ["model=fsn", "model.local_layers=1", "model.reach=3", "model.copying_layers=1", "model.increment_limit=0.5"],
    ["model=fsn_native", "model.local_layers=1", "model.copying_layers=2", "model.copying_share=1"],
    ["model=fsn_native", "model.feed_forward=native"],
    ["model=transformer", "model.delayed_heads=1"],
    ["model=transformer", "model.delayed_heads=1", "model.lag_heads=2", "model.helped_layers=1"],
    ["model=osn", "model.lag=0", "model.delayed_heads=0"],
    *([f"model={name}", "data.tokenizer=bpe", "model.cutoffs=[60,150]", "model.div_value=2"] for name in MODELS),
    ["model=osn", "model.query_frequency=separate", "model.frequency_width=5", "model.position=false", "model.lag=0"],
]


def shaken(overrides: list[str]) -> torch.nn.Module:
    """A model at scale=smoke whose parameters are far enough from their start that every path carries signal."""
    torch.manual_seed(0)
    model = build_model(resolve_shape(compose("train", [*overrides, "scale=smoke"]), 256).model, 256)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(params=VARIANTS, ids=" ".join)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return shaken(request.param)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_future_changes_the_past_by_exactly_nothing(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cut at places around the chunk of queries; in bfloat16 too, where a rounding-level leak would show."""
    model = model.to(dtype)
    tokens = torch.randint(0, 256, (2, 140))
    logits = model(tokens)
    for cut in (1, 63, 64, 65, 139):
        other = tokens.clone()
        other[:, cut:] = torch.randint(0, 256, (2, 140 - cut))
        changed = model(other)
        assert torch.equal(changed[:, :cut], logits[:, :cut])
        assert not torch.equal(changed[:, cut:], logits[:, cut:])


@torch.no_grad()
def test_decoding_token_by_token_equals_the_full_pass(model: torch.nn.Module) -> None:
    tokens = torch.randint(0, 256, (2, 130))
    logits = model(tokens)
    cache = model.init_cache(2)
    for t in range(tokens.shape[1]):
        step, cache = model.step(tokens[:, t], cache)
        torch.testing.assert_close(step, logits[:, t], rtol=2e-5, atol=1e-4)


@torch.no_grad()
def test_logits_can_be_read_in_parts_of_the_final_states(model: torch.nn.Module) -> None:
    """What an evaluation over a large vocabulary does."""
    tokens = torch.randint(0, 256, (2, 20))
    hidden = model.hidden(tokens)
    parts = torch.cat([model.logits(part) for part in hidden.split(7, dim=1)], dim=1)
    assert isinstance(model, Decoder) and torch.equal(model(tokens), model.logits(hidden))
    torch.testing.assert_close(
        model(tokens, targets=tokens),
        -model(tokens).log_softmax(-1).gather(-1, tokens[..., None])[..., 0],
        rtol=1e-5,
        atol=1e-5,
    )
    torch.testing.assert_close(parts, model(tokens), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_past_is_used_and_order_matters(model: torch.nn.Module) -> None:
    tokens = torch.randint(0, 256, (1, 50))
    last = model(tokens)[:, -1]
    earlier, swapped = tokens.clone(), tokens.clone()
    earlier[:, 3] = (earlier[:, 3] + 1) % 256
    swapped[:, [10, 11]] = swapped[:, [11, 10]]
    assert (model(earlier)[:, -1] - last).abs().max() > 1e-6
    assert (model(swapped)[:, -1] - last).abs().max() > 1e-6


@torch.no_grad()
@pytest.mark.parametrize("n_tokens", [1, 2, 20])
def test_a_prompt_read_in_one_pass_leaves_what_steps_leave(model: torch.nn.Module, n_tokens: int) -> None:
    """Fewer and more tokens than a layer looks back, more than a new buffer has room for; then both go on alike."""
    tokens = torch.randint(0, 256, (2, n_tokens + 3))
    model = model.double()
    at_once, by_step = model.init_cache(2), model.init_cache(2)
    for t in range(n_tokens):
        expected, by_step = model.step(tokens[:, t], by_step)
    logits, at_once = model.prefill(tokens[:, :n_tokens], at_once)
    reserve(at_once, 100)
    for t in range(n_tokens, n_tokens + 4):
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
        compare(at_once, by_step)
        if t < tokens.shape[1]:
            expected, by_step = model.step(tokens[:, t], by_step)
            logits, at_once = model.step(tokens[:, t], at_once)
    with pytest.raises(ValueError, match=r"the cache has \d+ tokens already"):
        model.prefill(tokens, at_once)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(2, 0, dtype=torch.int64), "a prompt has at least one token"),
        (torch.zeros(1, 3, dtype=torch.int64), "the prompt has a batch of 1 and the cache one of 2"),
        (torch.zeros(3, dtype=torch.int64), r"tokens has shape \(3,\), not \(batch, tokens\)"),
        (torch.zeros(2, 3), "tokens is torch.float32, not torch.int64"),
    ],
)
def test_what_is_no_prompt_is_one_line(model: torch.nn.Module, wrong: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.prefill(wrong, model.init_cache(2))


def compare(ours: Any, theirs: Any) -> None:
    """Two caches, entry by entry."""
    assert type(ours) is type(theirs)
    if isinstance(ours, TokenBuffer):
        ours, theirs = ours.seen, theirs.seen
    if isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name in ours:
            compare(ours[name], theirs[name])
    elif isinstance(ours, list | tuple):
        for a, b in zip(ours, theirs, strict=True):
            compare(a, b)
    else:
        assert ours == theirs


@torch.no_grad()
@pytest.mark.parametrize("name", ["transformer", "osn"])
def test_what_a_block_reports_is_of_what_its_mixer_gets(name: str) -> None:
    model, inputs = shaken([f"model={name}"]), []
    for layer in model.layers:
        layer.mixer.register_forward_pre_hook(lambda mixer, given: inputs.append(given[0]))
    tokens = torch.randint(0, 256, (2, 9))
    _, diagnostics = model(tokens, return_diagnostics=True)
    for layer, x, found in zip(model.layers, inputs, diagnostics, strict=True):
        assert torch.equal(found["attention"], layer.mixer.diagnostics(x)["attention"])


@pytest.mark.parametrize("name", MODELS)
def test_untrained_models_start_near_the_uniform_guess(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(resolve_shape(compose("train", [f"model={name}", "scale=250k"]), 256).model, 256)
    tokens, targets = torch.randint(0, 256, (2, 4, 100))
    nats = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    assert abs(float(nats.detach()) - math.log(256)) < 0.7


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = shaken([f"model={name}"])
    model(torch.randint(0, 256, (2, 70))).square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("dtype", "near", "of_norm"), [(torch.float64, 1e-8, 1e-7), (torch.float32, 1e-3, 0.05)], ids=str
)
def test_cuda_gives_what_the_cpu_gives(model: torch.nn.Module, dtype: torch.dtype, near: float, of_norm: float) -> None:
    """Logits, and gradients by the norm of their difference, without TF32. In float32 a gradient of SSA that comes from
    a pair on the edge of locking differs by percents from that in float64, on a CPU too.
    """
    from copy import deepcopy

    tokens = torch.randint(0, 256, (2, 140))
    on_cuda = deepcopy(model).to("cuda", dtype)
    here, there = model.to(dtype)(tokens), on_cuda(tokens.cuda())
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=near)
    here.square().mean().backward()
    there.square().mean().backward()
    for (name, ours), theirs in zip(model.named_parameters(), on_cuda.parameters(), strict=True):
        if ours.grad is not None:
            assert theirs.grad is not None
            assert (theirs.grad.cpu() - ours.grad).norm() <= of_norm * ours.grad.norm() + near**2, name
