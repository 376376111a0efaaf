"""Models from configs, and which of their parameters decay and at which rate they learn."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from configs.compose import compose
from configs.errors import UserError
from configs.schema import MODELS, OptimConfig
from training.budget import resolve_shape
from training.build import RATES, build_model, parameter_groups, parameters_by_part

OPTIM = OptimConfig(weight_decay=0.12, embedding_lr=5.0, kernel_lr=2.0, gate_lr=3.0, readout_lr=4.0)
# Of every parameter of every model: the multiple of the rate with the above, and whether it decays.
EXPECTED = {
    "embedding.weight": (5.0, False),
    "readout.weight": (4.0, True),
    "readout_scale": (1.0, False),
    "norm.weight": (1.0, False),
    "mixer_norm.weight": (1.0, False),
    "cross_norm.weight": (1.0, False),
    "feed_forward_norm.weight": (1.0, False),
    "encoder_norm.weight": (1.0, False),
    **dict.fromkeys(("query.weight", "key_value.weight"), (1.0, True)),
    **dict.fromkeys(("gate_up.weight", "up.weight", "down.weight", "out.weight", "qkv.weight"), (1.0, True)),
    **dict.fromkeys(("omega.weight", "query_omega.weight", "phi.weight", "value.weight"), (1.0, True)),
    **dict.fromkeys(("amplitude", "lag"), (1.0, False)),
    **dict.fromkeys(("log_alpha", "log_K", "threshold"), (2.0, False)),
    **dict.fromkeys(("kernel_real", "kernel_imag"), (2.0, False)),
    "gate_constant": (3.0, False),
    "reference": (1.0, False),
    "gate_content.weight": (3.0, True),
    "null_score": (1.0, False),
    **dict.fromkeys(("pattern", "angle"), (5.0, False)),
    **dict.fromkeys(("listen", "pull", "drive.weight"), (1.0, True)),
}
VARIANTS = [
    *([f"model={name}"] for name in MODELS),
    ["model=kuramoto", "model.gate=constant"],
    ["model=fsn", "model.null=learned", "model.readout=tied"],
    ["model=fsn_native", "model.feed_forward=native"],
    ["model=osn", "model.query_frequency=separate", "model.feed_forward=gelu"],
    ["model=osn", "model.learn_theta=false", "model.lag=0"],
]


def model_config(*overrides):
    return resolve_shape(compose("train", [*overrides, "scale=smoke"]), 256).model


@pytest.mark.parametrize("task", ["language", "translation"])
@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_every_parameter_has_its_rate_and_its_decay(overrides, task):
    model = build_model(model_config(*overrides), 256, task)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = []
    for group in parameter_groups(model, OPTIM):
        for parameter in group["params"]:
            name = names[id(parameter)]
            rate, decays = EXPECTED[".".join(name.split(".")[-2 if name.endswith("weight") else -1 :])]
            assert group["lr_scale"] == rate, name
            # AdamW multiplies decay by the rate: where that has a multiple, decay is as it is without.
            assert group["weight_decay"] * rate == pytest.approx(0.12 if decays else 0), name
            seen.append(name)
    assert sorted(seen) == sorted(names.values()), "every parameter is in one group"


def test_a_step_decays_a_matrix_as_much_whatever_the_multiple_of_its_rate():
    """By AdamW itself, with gradients of zero: what is left of the readout after one step."""
    left = []
    for readout_lr in (1.0, 4.0):
        model = build_model(model_config("model=fsn"), 256)
        before = model.readout.weight.detach().clone()
        groups = parameter_groups(model, OptimConfig(weight_decay=0.12, readout_lr=readout_lr))
        optimizer = torch.optim.AdamW([group | {"lr": 0.5 * group["lr_scale"]} for group in groups])
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        left.append(float((model.readout.weight / before).mean().detach()))
    assert left == pytest.approx([1 - 0.5 * 0.12] * 2, abs=1e-6)


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_a_config_knows_which_rates_its_model_has(overrides):
    """So that a rate of nothing is refused before anything is built."""
    config = model_config(*overrides)
    modules = list(build_model(config, 256).modules())
    named = {key for role, key in RATES.items() if any(getattr(module, role, list)() for module in modules)}
    assert named == {"embedding_lr", *config.rates()}


def test_fsn_native_has_no_mlp_and_no_hidden_matrix_chain():
    model = build_model(model_config("model=fsn_native"), 256)
    kinds = [type(module).__name__ for module in model.modules()]
    assert "SwiGLU" not in kinds and "PhaseSwiGLU" not in kinds
    assert kinds.count("CollectiveModes") == len(model.layers)
    # The only linear maps left are gates, drives of the modes, and the readout: none feeds another.
    linear = [name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert set(linear) <= {"gate_content", "drive", "readout"}


def test_parts_add_up_to_the_total():
    parts = parameters_by_part(build_model(model_config("model=fsn"), 256))
    assert set(parts) == {"total", "embedding", "mixer", "copying", "feed_forward", "readout"}
    assert parts["total"] == sum(parts.values()) / 2


def test_parts_of_a_translator_say_whose_they_are():
    parts = parameters_by_part(build_model(model_config("model=fsn"), 256, "translation"))
    layers = {"encoder_mixer", "encoder_feed_forward", "decoder_mixer", "decoder_cross", "decoder_cross_copying"}
    assert set(parts) == {"total", "embedding", "readout", "decoder_feed_forward"} | layers
    parts = parameters_by_part(build_model(model_config("model=osn"), 256, "translation"))
    assert parts["norm"] == (2 * 2 + 2 * 3 + 2) * 32 and parts["total"] == sum(parts.values()) / 2


@pytest.mark.parametrize(
    ("error", "hint"),
    [("width 10 does not split into 3 heads", "set model.width and model.n_heads"), ("lag=nan is no", "set model.lag")],
)
def test_what_a_network_refuses_is_one_line_with_what_to_set(monkeypatch, error, hint):
    def refuses(*_, **__):
        raise ValueError(error)

    monkeypatch.setattr("training.build.import_module", lambda name: SimpleNamespace(FSN=refuses))
    with pytest.raises(UserError, match=f"model=fsn: {error}; {hint}$"):
        build_model(model_config("model=fsn"), 256)
