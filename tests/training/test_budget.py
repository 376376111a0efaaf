"""`scale=1m` means 1,000,000 parameters to 0.5 % for every model; a set shape wins, then tuning, then the scale."""

from dataclasses import replace

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from configs.groups import options
from configs.schema import MODELS, OptimConfig, TunedConfig
from measures.flops import flops_per_token
from training.budget import resolve_shape
from training.build import build_model, parameter_groups, parameters_by_part

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
        (["model=transformer", "scale=1m", "model.n_heads=7"], "7 heads"),
        (["model=fsn", "scale=1m", "model.n_heads=7"], "7 heads"),
    ],
)
def test_a_budget_that_cannot_be_met_says_why(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        resolved(*overrides)
    assert "\n" not in str(error.value)


def test_fsn_native_has_no_mlp_and_no_hidden_matrix_chain() -> None:
    model = build_model(resolved("model=fsn_native", "scale=smoke").model, 256)
    kinds = [type(module).__name__ for module in model.modules()]
    assert "SwiGLU" not in kinds and "PhaseSwiGLU" not in kinds
    assert kinds.count("CollectiveModes") == len(model.layers)
    # The only linear maps left are gates, drives of the modes, and the readout: none feeds another.
    linear = [name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    assert set(linear) <= {"gate_content", "drive", "readout"}


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


def test_angles_kernels_and_norms_do_not_decay() -> None:
    model = build_model(resolved("model=fsn", "scale=smoke").model, 256)
    groups = parameter_groups(model, OptimConfig(embedding_lr=5.0))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = [p for group in groups for p in group["params"] if group["weight_decay"] == 0.1]
    rest = [p for group in groups for p in group["params"] if group["weight_decay"] == 0.0]
    assert {names[id(p)].split(".")[-2] for p in decayed} <= {"gate_content", "gate_up", "down", "readout"}
    assert any("kernel_real" in names[id(p)] for p in rest)
    assert any("embedding" in names[id(p)] for p in rest)
    assert len(decayed) + len(rest) == len(names)
    scaled = [names[id(p)] for group in groups for p in group["params"] if group["lr_scale"] == 5.0]
    assert scaled == ["embedding.weight"]


def test_no_models_embedding_decays() -> None:
    """Decay grows with the rate in AdamW: decayed, the faster embedding of the baseline would shrink as no other's."""
    for name in MODELS:
        model = build_model(resolved(f"model={name}", "scale=smoke").model, 256)
        groups = parameter_groups(model, OptimConfig(embedding_lr=5.0))
        of_embedding = [g for g in groups if any(p is model.embedding.weight for p in g["params"])]
        assert [(g["weight_decay"], g["lr_scale"]) for g in of_embedding] == [(0.0, 5.0)]


def test_every_learned_phase_takes_larger_steps() -> None:
    model = build_model(resolved("model=fsn_native", "scale=smoke").model, 256)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, OptimConfig(embedding_lr=5.0))
    fast = {names[id(p)].split(".")[-1] for group in groups for p in group["params"] if group["lr_scale"] == 5.0}
    assert fast == {"weight", "pattern", "angle"}
    slow = {names[id(p)] for group in groups for p in group["params"] if group["lr_scale"] == 1.0}
    assert "embedding.weight" not in slow and not any(name.endswith(("pattern", "angle")) for name in slow)


def test_kernels_gates_and_readout_take_their_own_rates() -> None:
    for overrides in (["model=fsn"], ["model=kuramoto", "model.gate=constant"], ["model=fsn", "model.null=learned"]):
        model = build_model(resolved(*overrides, "scale=smoke").model, 256)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups = parameter_groups(model, OptimConfig(embedding_lr=5.0, kernel_lr=2.0, gate_lr=3.0, readout_lr=4.0))
        rates = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
        assert len(rates) == len(names), "every parameter is in one group"
        for name, rate in rates.items():
            words = {"embedding": 5.0, "kernel_": 2.0, "gate_c": 3.0, "readout": 4.0}  # gate_c: not SwiGLU's gate_up
            assert rate == next((value for word, value in words.items() if word in name), 1.0), name
