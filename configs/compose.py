"""YAML groups and command-line overrides become a typed, checked config; a config becomes plain values and a hash."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from configs.checks import check_benchmark, check_evaluation, check_run
from configs.errors import UserError
from configs.groups import options, schema
from configs.overrides import compose_strictly
from configs.saved import literal
from configs.schema import MODELS, BenchmarkConfig, EvaluationConfig, RunConfig
from configs.strict import keys, typed

# What cannot change a result: where things lie, and how often they are saved or shown. Tuned values are left out
# because `training.budget.resolve_shape` writes those that are used into the shape and the learning rate.
NOT_IN_HASH = (
    "run_dir",
    "runs",
    "overwrite",
    "plan",
    "logger",
    "data.cache_dir",
    "model.tuned",
    "trainer.progress",
    "trainer.checkpoint_every",
    "trainer.log_every",
    "trainer.timeout",
)
# Where a run is computed and in how many parts, with the values that the hash takes in place of any other: these change
# numbers by rounding alone, and which numbers dropout leaves out, so a run may go on with others.
ON_ANY_MACHINE = {
    "trainer.name": "cpu",
    "trainer.accelerator": "cpu",
    "trainer.devices": 1,
    "trainer.strategy": "auto",
    "trainer.threads": None,
    "trainer.micro_batch_size": None,
    "trainer.cuda_graphs": False,
    "trainer.checkpoint_epochs": [],
    "data.micro_batches": 1,
}
EPOCHS_OF_PRESETS = (1, 30)  # trainer.max_epochs of the options of `trainer`, which ends no run that has max_steps
# Keys that are newer than runs on disk, with the value that those ran with: left out where they have it.
NOT_IN_HASH_AT_DEFAULT = {
    "data.tokenizer": "bytes",
    "data.vocabulary": 8192,
    "data.raw": True,
    "data.as_bytes": False,
    "trainer.cuda_graphs": False,
    "model.lag_heads": 0,
    "model.helped_layers": None,
    "model.local_layers": 0,
    "model.reach": 8,
    "model.local_coupling": 0.75,
    "model.copying_layers": 0,
    "model.copying_share": 0.5,
    "model.copying_coupling": 1.0,
    "model.copying_gate": 2.0,
    "model.quadratures": 2,
    "model.increment_limit": None,
    "model.cutoffs": None,
    "model.div_value": 4,
    "model.dropout": None,
    "optim.label_smoothing": None,
}


def compose(entry: str, overrides: Sequence[str] = ()) -> Any:
    """The checked config of an entry point (train: RunConfig, eval: EvaluationConfig, bench: BenchmarkConfig).

    `compose("train", ["model=fsn", "scale=smoke"])`. Raises UserError, one line, for any mistake in the overrides.
    """
    return resolve_entry(entry, compose_strictly(entry, overrides))


def resolve_entry(entry: str, cfg: DictConfig | Mapping[str, Any]) -> Any:
    """What Hydra composed for an entry point as its typed, checked config."""
    return {"train": resolve, "eval": resolve_evaluation, "bench": resolve_benchmark}[entry](cfg)


def resolve(cfg: DictConfig | Mapping[str, Any]) -> RunConfig:
    """A run config, strictly typed and checked, from Hydra's result or from the plain values of a saved one.

    Raises UserError, one line, for an unknown key, a bad type, an illegal name or an impossible value.
    """
    values = _plain(cfg)
    config: RunConfig = typed(_defaults_for(values), values)
    check_run(config, options("scale"))
    return config


def _defaults_for(values: Mapping[str, Any]) -> RunConfig:
    """The defaults of a run with this model and this data. UserError for an unknown model."""
    model, data = values.get("model"), values.get("data")
    name = model.get("name") if isinstance(model, Mapping) else model
    source = data.get("source") if isinstance(data, Mapping) else None
    defaults: RunConfig = schema("train", name, source if isinstance(source, str) else None)
    return defaults


def resolve_saved(values: Mapping[str, Any], place: object = "") -> RunConfig:
    """The config of a run on disk: a key that is newer than the run has the value that the run had without it.

    Anybody may have written it, so every value is taken literally (`configs.saved`). `place`: the file, for errors.
    Raises UserError as `resolve` does, and for what is no config at all.
    """
    try:
        return _resolve_saved(literal(values))
    except UserError as error:
        raise UserError(f"the config in {place}: {error}" if place else str(error)) from None


def _resolve_saved(values: dict[str, Any]) -> RunConfig:
    known = keys(_defaults_for(values))
    for key, former in NOT_IN_HASH_AT_DEFAULT.items():
        group, name = key.split(".")
        if key in known and isinstance(values.get(group), dict):
            values[group].setdefault(name, former)
    return resolve(values)


def resolve_evaluation(cfg: DictConfig | Mapping[str, Any]) -> EvaluationConfig:
    """An evaluation config, strictly typed and checked. Raises UserError as `resolve` does."""
    config: EvaluationConfig = typed(schema("eval"), _plain(cfg))
    check_evaluation(config)
    return config


def resolve_benchmark(cfg: DictConfig | Mapping[str, Any]) -> BenchmarkConfig:
    """A benchmark config, strictly typed and checked. Raises UserError as `resolve` does."""
    config: BenchmarkConfig = typed(schema("bench"), _plain(cfg))
    check_benchmark(config, list(MODELS), options("scale"))
    return config


def config_dict(config: RunConfig) -> dict[str, Any]:
    """The config as plain dicts, lists, numbers and strings: what `config.yaml` and the record hold."""
    return asdict(config)


def config_hash(config: RunConfig, of_machine: bool = False) -> str:
    """10 hex digits of SHA-256 over the canonical JSON of all that can change a result by more than rounding.

    `of_machine`: also of where it is computed, as names of run directories once had it.
    """
    values = config_dict(config)
    for key, value in ({} if of_machine else ON_ANY_MACHINE).items():
        branch, name = _branch(values, key)
        if name in branch:
            branch[name] = value
    for key in (*NOT_IN_HASH, *NOT_IN_HASH_AT_DEFAULT):
        branch, name = _branch(values, key)
        if key in NOT_IN_HASH or branch.get(name, ...) == NOT_IN_HASH_AT_DEFAULT[key]:
            branch.pop(name, None)
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def identity(config: RunConfig) -> str:
    """The same for configs of one and the same run: `config_hash`, where steps rule without regard to the epochs."""
    if config.trainer.max_steps is not None:
        config = replace(config, trainer=replace(config.trainer, max_epochs=None))
    return config_hash(config)


def hashes_of_run(config: RunConfig) -> list[str]:
    """`config_hash`, and then those that the same run has where another command began it: with another `trainer`, whose
    `max_epochs` does nothing beside `max_steps`, or by older code.
    """
    hashes = [config_hash(config), config_hash(config, of_machine=True)]
    if config.trainer.max_steps is not None:
        trainers = [replace(config.trainer, max_epochs=epochs) for epochs in (*EPOCHS_OF_PRESETS, None)]
        hashes += [config_hash(replace(config, trainer=trainer)) for trainer in trainers]
    return hashes


def _branch(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Where a dotted key lies in plain values, and its name there."""
    *path, name = key.split(".")
    for part in path:
        values = values[part]
    return values, name


def _plain(cfg: DictConfig | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(cfg, DictConfig):
        return cfg
    # Interpolations stay as they are written: the typed merge resolves them, once.
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return plain
