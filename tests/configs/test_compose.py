"""Every shipped config composes; hashes follow what can change a result and nothing else."""

import json
from dataclasses import fields, replace

import pytest
from omegaconf import OmegaConf

from configs.compose import compose, config_dict, config_hash, resolve, resolve_saved
from configs.errors import UserError
from configs.fields import limits_of
from configs.groups import compose_with_hydra, defaults, groups, options, schema
from configs.overrides import compose_strictly
from configs.schema import (
    MODELS,
    PAIRS,
    STRINGS,
    BenchmarkConfig,
    DataConfig,
    EvaluationConfig,
    FSNConfig,
    LoggerConfig,
    RunConfig,
    TransformerConfig,
    TunedConfig,
)
from configs.strict import keys, leaves

RECALL = ["task=recall", "trainer.max_steps=10"]
NEEDS = {("data", name): ["data.path=corpus.txt"] for name in ("text", "text27")}
NEEDS |= {("data", name): RECALL for name in ("repeat64", "repeat6", "mqar", "selective_copying")}
NEEDS |= {
    ("data", "multi30k"): ["task=translation", "data.path=multi30k"],
    ("data", "numbers"): ["task=translation"],
    ("data", "wmt14_en_de"): ["task=translation"],
}


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in groups() for option in options(group)])
def test_every_option_composes(group, option):
    config = compose("train", [f"{group}={option}", *NEEDS.get((group, option), [])])
    assert getattr(config, group).name == option


def test_every_key_of_the_schema_is_in_the_composed_config():
    config = compose("train")
    assert isinstance(config, RunConfig)
    assert keys(config) == keys(RunConfig(model=FSNConfig(), data=DataConfig()))
    assert set(defaults("train")) == set(groups())


def test_defaults_of_train():
    config = compose("train")
    assert (config.model.name, config.scale.name, config.data.name) == ("fsn", "1m", "stdlib")
    assert (config.trainer.name, config.optim.name, config.logger.name) == ("cpu", "adamw", "wandb")
    assert (config.scale.parameters, config.scale.width, config.scale.n_layers) == (1_000_000, 160, 4)


def test_models_and_their_kinds():
    assert options("model") == sorted(MODELS)
    assert isinstance(compose("train", ["model=transformer"]).model, TransformerConfig)
    kuramoto = compose("train", ["model=kuramoto"]).model
    assert (kuramoto.harmonics, kuramoto.delay, kuramoto.frustration) == (1, False, False)
    assert compose("train", ["model=fsn_native"]).model.feed_forward == "mean_field"


def test_trainers():
    gpu, ddp, fsdp = (compose("train", [f"trainer={name}"]).trainer for name in ("gpu", "ddp", "fsdp"))
    assert (gpu.accelerator, gpu.max_epochs, gpu.checkpoint_epochs, gpu.checkpoint_every) == ("cuda", 30, [30], 2000)
    assert replace(ddp, name="gpu", devices=1, strategy="auto") == gpu
    assert (ddp.devices, ddp.strategy) == (2, "ddp")
    assert replace(fsdp, name="ddp", strategy="ddp") == ddp and fsdp.strategy == "fsdp"


def test_tuned_values_belong_to_scales_and_are_typed():
    values = config_dict(compose("train"))
    values["model"]["tuned"] = {"1m": {"lr": 0.003, "n_heads": 2}}
    tuned = resolve(values).model.tuned["1m"]
    assert (tuned.lr, tuned.n_heads, tuned.width) == (0.003, 2, None)
    values["model"]["tuned"] = {"1b": {"lr": 0.003}}
    with pytest.raises(UserError, match=r"model.tuned.1b: .*250k"):
        resolve(values)


def test_overrides_are_converted_to_the_types_of_the_schema():
    config = compose("train", ["precision=32", "optim.lr=1", "trainer.max_steps=7", "++seed=3", "compile=true"])
    assert (config.precision, config.seed, config.trainer.max_steps, config.compile) == ("32", 3, 7, True)
    assert isinstance(config.optim.lr, float)


def test_interpolations_resolve_once():
    assert compose("train", ["batch_size=8", "trainer.micro_batch_size=${batch_size}"]).trainer.micro_batch_size == 8


def test_a_saved_config_resolves_to_itself():
    config = compose("train", ["model=kuramoto", "scale=smoke", "optim.lr=0.002"])
    assert resolve(config_dict(config)) == config


def test_a_saved_config_with_a_key_too_many_is_refused():
    values = config_dict(compose("train"))
    values["trainer"]["max_stpes"] = 3
    with pytest.raises(UserError, match=r"unknown key 'trainer.max_stpes': the nearest is 'trainer.max_steps'"):
        resolve(values)


def test_benchmark_config():
    config = compose("bench", ["models=[fsn,transformer]", "scale=250k"])
    assert isinstance(config, BenchmarkConfig)
    assert (config.models, config.scale.name) == (["fsn", "transformer"], "250k")
    with pytest.raises(UserError, match="unknown key 'modles': the nearest is 'models'"):
        compose("bench", ["modles=[fsn]"])


def test_evaluation_config():
    config = compose("eval", ["run=runs/x", "split=validation"])
    assert config == EvaluationConfig(run="runs/x", split="validation")


def test_every_default_and_example_is_a_value_that_its_field_takes():
    trees = [schema("eval"), schema("bench"), *(schema("train", name) for name in ("transformer", "fsn", "osn"))]
    trees += [schema("train", "fsn", source) for source in (*STRINGS, *PAIRS)]
    for key, field, _, default in (leaf for tree in trees for leaf in leaves(tree)):
        limits = limits_of(field)
        assert not limits.names or default == "???" or default in limits.names, key
        if limits.rule is not None:
            for value in (
                limits.example if isinstance(limits.example, list) and not limits.rule.of_list else [limits.example]
            ):
                assert limits.rule.holds(value), key
            assert not limits.rule.says.endswith("."), key


def test_what_a_key_needs_is_asked_of_every_model():
    """A need looks at keys of its own model alone, so that composing another one does not fail."""
    for model in MODELS:
        assert compose("train", [f"model={model}", "optim.weight_decay=0.2"]).optim.weight_decay == 0.2


def test_hash_is_the_same_for_the_same_config(run):
    assert config_hash(resolve(config_dict(run))) == config_hash(run)
    assert len(config_hash(run)) == 10
    assert int(config_hash(run), 16) >= 0


FORMER = {"local_layers": 0, "copying_layers": 0, "quadratures": 2}


def test_a_saved_config_has_what_its_run_had_before_a_key_existed():
    asked = [
        "model=fsn",
        "model.harmonics=2",
        "model.grading=1",
        *(f"model.{key}={value}" for key, value in FORMER.items()),
    ]
    config = compose("train", asked)
    saved = config_dict(config)
    for key in (*FORMER, "reach", "local_coupling", "copying_share", "copying_coupling", "copying_gate"):
        del saved["model"][key]
    del saved["trainer"]["cuda_graphs"], saved["data"]["tokenizer"]
    before = json.dumps(saved)
    assert resolve_saved(saved) == config and config_hash(resolve_saved(saved)) == config_hash(config)
    assert json.dumps(saved) == before, "what was read is left as it is"
    assert {key: getattr(resolve(saved).model, key) for key in FORMER} != FORMER, "the defaults of today are others"
    for others in (["model=osn"], ["model=transformer"], [*RECALL, "data=mqar"]):
        config = compose("train", others)
        assert resolve_saved(config_dict(config)) == config


@pytest.fixture(scope="module")
def run():
    return compose("train", ["model=transformer"])


@pytest.mark.parametrize(
    ("group", "changes"),
    [
        (None, {"run_dir": "elsewhere", "runs": "elsewhere", "overwrite": True, "plan": True}),
        (None, {"logger": LoggerConfig(name="none", mode="online", project="other")}),
        ("data", {"cache_dir": "elsewhere"}),
        ("trainer", {"progress": False, "checkpoint_every": 7, "log_every": 7}),
        ("trainer", {"name": "ddp", "accelerator": "cuda", "devices": 2, "strategy": "ddp", "threads": 1}),
        ("trainer", {"micro_batch_size": 4, "cuda_graphs": True, "checkpoint_epochs": [30]}),
        ("model", {"tuned": {"1m": TunedConfig(lr=0.1)}}),
    ],
)
def test_hash_ignores(run, group, changes):
    assert config_hash(changed(run, group, changes)) == config_hash(run)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        (None, "seed", 1),
        (None, "batch_size", 32),
        (None, "precision", "bf16"),
        ("model", "ff_width", 64),
        ("scale", "parameters", 2_000_000),
        ("data", "context", 128),
        ("data", "split", [0.8, 0.1, 0.1]),
        ("data", "path", "corpus.txt"),
        ("optim", "lr", 0.001),
        ("optim", "betas", [0.9, 0.99]),
        ("trainer", "max_steps", 10),
        ("trainer", "val_every", 10),
    ],
)
def test_hash_follows(run, group, name, value):
    assert config_hash(changed(run, group, {name: value})) != config_hash(run)


def changed(run: RunConfig, group: str | None, changes: dict) -> RunConfig:
    return replace(run, **(changes if group is None else {group: replace(getattr(run, group), **changes)}))


def test_every_field_takes_part_in_the_hash_unless_it_is_named_as_not(run):
    named = {"run_dir", "runs", "overwrite", "plan", "logger"}
    for field in fields(RunConfig):
        value = getattr(run, field.name)
        if isinstance(value, bool | int):
            other = replace(run, **{field.name: not value if isinstance(value, bool) else value + 1})
            assert (config_hash(other) == config_hash(run)) == (field.name in named), field.name


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["model=fsn", "scale=250k", "seed=3", "optim.lr=2e-3"],
        ["model=osn", "data=text", "data.path='a b, c.txt'", "model.position_share=[0.1,0.6]", "trainer=ddp"],
        ["model=transformer", "trainer.max_steps=7", "model.delayed_heads=1", "trainer.max_steps=8"],
        ["data.split=[0.98,0.01,0.01]", "data=stdlib", "logger=none", "runs=elsewhere", "++seed=1"],
    ],
)
def test_what_is_composed_quickly_is_what_hydra_composes(given):
    """Also the second time, when the groups are composed already and others have set their keys."""
    expected = OmegaConf.to_container(compose_with_hydra("train", given), resolve=True)
    for _ in range(2):
        composed = compose_strictly("train", given)
        assert OmegaConf.to_container(composed, resolve=True) == expected
        assert OmegaConf.is_struct(composed)
        compose_strictly("train", [*given, "seed=99", "trainer.max_steps=99"])
