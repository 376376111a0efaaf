"""`scale=1m` means 1,000,000 parameters to 0.5 % for every model; a set shape wins, then tuning, then the scale."""

from dataclasses import replace

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from configs.groups import options
from configs.schema import MODELS, TunedConfig
from measures.flops import flops_per_token
from training.budget import resolve_shape
from training.build import build_model, parameters_by_part

MODELS_AND_SCALES = [(model, scale) for model in MODELS for scale in options("scale")]


def resolved(*overrides: str):
    return resolve_shape(compose("train", list(overrides)), 256)


@pytest.mark.parametrize(("model", "scale"), MODELS_AND_SCALES)
def test_every_model_meets_every_budget(model: str, scale: str) -> None:
    config = resolved(f"model={model}", f"scale={scale}")
    with torch.device("meta"):
        parts = parameters_by_part(build_model(config.model, 256))
    assert abs(parts["total"] - config.scale.parameters) <= 0.005 * config.scale.parameters
    assert parts["total"] == sum(count for part, count in parts.items() if part != "total")
    assert config.optim.lr is not None
    assert resolve_shape(config, 256) == config


def test_a_set_shape_wins_over_the_tuned_one_and_the_tuned_one_over_the_scale() -> None:
    plain = compose("train", ["model=transformer", "scale=1m"])
    tuned = replace(plain, model=replace(plain.model, tuned={"1m": TunedConfig(width=144, lr=0.004)}))
    config = resolve_shape(tuned, 256)
    assert (config.model.width, config.optim.lr) == (144, 0.004)
    asked = replace(tuned, model=replace(tuned.model, width=128), optim=replace(tuned.optim, lr=0.001))
    config = resolve_shape(asked, 256)
    assert (config.model.width, config.optim.lr) == (128, 0.001)
    assert config.model.n_layers == config.scale.n_layers


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["scale=smoke", "model.width=512"], "more than the budget of 50,000"),
        (["scale=1m", "model.ff_width=7"], "leave model.ff_width unset"),
        (["scale=smoke", "scale.parameters=50150", "scale.tolerance=0.0001"], "too coarse"),
        (["model=transformer", "scale=1m", "model.n_heads=7"], "n_heads=7|7 heads"),
        (["model=fsn", "scale=1m", "model.n_heads=7"], "n_heads=7|7 heads"),
    ],
)
def test_a_budget_that_cannot_be_met_says_why(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        resolved(*overrides)
    assert "\n" not in str(error.value)


def test_flops_per_token_against_a_count_by_hand() -> None:
    config = resolved("model=transformer", "scale=smoke")
    model = build_model(config.model, 256)
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    context, width, layers = 64, config.model.width, config.model.n_layers
    # 2 per multiply-add, forward and twice that backward. Backward of attention recomputes the scores when fused.
    expected = 6 * matrices + layers * 6 * 2 * context * width
    assert flops_per_token(model, context) == pytest.approx(expected, rel=0.02)


def test_flops_per_token_of_synchronization_count_the_whole_window_too() -> None:
    config = resolved("model=osn", "scale=smoke")
    model = build_model(config.model, 256)
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "amplitude" not in name)
    heads, context = config.model.n_heads, 64
    v = config.model.width // heads
    omega = v + 2 * config.model.drifts
    # Forward u and S v; backward u again, the gradients of S, v, and two of u.
    attention = (omega + v) + (3 * omega + 2 * v)
    expected = 6 * matrices + config.model.n_layers * heads * 2 * context * attention
    assert flops_per_token(model, context) == pytest.approx(expected, rel=0.02)
