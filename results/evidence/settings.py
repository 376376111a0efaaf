"""Which settings make two runs different: what of a config can change a result, in configs of any age."""

import functools
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.compose import NOT_IN_HASH
from configs.errors import UserError
from configs.schema import MODELS, FSNConfig, RunConfig, data_class
from training.run_record.record import RunRecord
from training.run_record.run_directory import flat

TRANSFORMER = "transformer"  # the model that others are compared with

# Solved from other keys, shown by itself, or without influence on the result.
NOT_SETTINGS = (*NOT_IN_HASH, "seed", "model.ff_width")


# Settings that say where a run was made, and where its corpus lies: no table has a column for them.
PLACES = {
    *("data.name", "data.source", "data.path", "trainer.checkpoint_epochs", "trainer.cuda_graphs"),
    *(f"trainer.{key}" for key in ("name", "accelerator", "devices", "strategy", "threads")),
}
# Likewise settings that change what is computed by rounding only.
CIRCUMSTANCES = {*PLACES, "compile", "precision", "ssa.backend", "trainer.micro_batch_size"}


# Keys that records of an FSN hold and configs no longer do: the new key and its values, or the value of a run without.
RENAMED = {"model.embedding": ("model.grading", {"uniform": 0.0, "graded": 1.0})}


DROPPED = {"model.lag": 0.0}  # constant gates of head h started at cos(nu lag h)


# What records from before a key ran with, where that is not its default of today.
BEFORE = {
    "model.grading": 0.0,
    "model.local_layers": 0,
    "model.copying_layers": 0,
    "model.quadratures": 2,
    "model.increment_limit": None,
    "model.lag": 0.0,
    "model.floor": 0.0,
    "model.delayed_heads": 0,
    "model.position_share": [0.1, 0.6],
    "model.calibration_length": 256,
}


def differing_settings(records: Sequence[RunRecord], ignoring: Collection[str] = ()) -> list[str]:
    """Keys of the config in which records of the *same* model differ, besides the seed: what a sweep went through."""
    keys: list[str] = []
    settings = [(record.config["model"]["name"], settings_of(record.config)) for record in records]
    for model, ours in settings:
        for other, theirs in settings:
            if other == model:
                keys += [key for key in ours if ours[key] != theirs.get(key) and key not in (*keys, *ignoring)]
    return keys


def usual_settings(records: Sequence[RunRecord]) -> dict[str, dict[str, str]]:
    """By model, the commonest value of each setting in which its runs differ; of equally common ones the default's."""
    usual: dict[str, dict[str, str]] = {}
    for model in sorted({str(record.config["model"]["name"]) for record in records}):
        of_model = [record for record in records if record.config["model"]["name"] == model]
        usual[model] = {}
        settings = [settings_of(record.config) for record in of_model]
        for key in differing_settings(of_model, PLACES):
            counts = Counter(shown_value(each.get(key)) for each in settings)
            default = shown_value(_defaults(model).get(key))
            usual[model][key] = max(sorted(counts), key=lambda value: (counts[value], value == default))
    return usual


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """What in a run's config can change its result, by dotted keys; of a key it is older than, what it ran with."""
    name = str(config["model"]["name"])
    config = flat(config)
    for old, (new, values) in RENAMED.items():
        if old in config:
            config[new] = values[config.pop(old)]
    defaults = _defaults(name, config.get("data.source"))
    config = defaults | {key: value for key, value in BEFORE.items() if key in defaults} | config
    if config.get("trainer.max_steps") is not None:
        config["trainer.max_epochs"] = None  # steps rule over epochs
    # Records have the name of a file alone; that its content is another is seen by `tokenizer_of`.
    if "data.tokenizer" in config:
        config["data.tokenizer"] = Path(str(config["data.tokenizer"])).name
    ignored = tuple(f"{name}." for name in NOT_SETTINGS)
    return {key: value for key, value in config.items() if not f"{key}.".startswith(ignored)}


@functools.cache
def _defaults(model: str, source: str | None = None) -> dict[str, Any]:
    data = data_class(source)()
    defaults = flat(asdict(RunConfig(data=data)) | {"model": asdict(MODELS[model]()) if model in MODELS else {}})
    had_dropped = issubclass(MODELS.get(model, FSNConfig), FSNConfig)
    return defaults | {key: value for key, value in DROPPED.items() if had_dropped and key not in defaults}


def shown_value(value: object) -> str:
    """A value of a config as it is typed."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    # As few digits as name the value: pi/2 must not be rounded to a threshold that is refused.
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def label(record: RunRecord, among: Sequence[RunRecord]) -> str:
    """The model's name, with the seed where another of the records has the same model."""
    name = str(record.config["model"]["name"])
    alone = len({other.seed for other in among if other.config["model"]["name"] == name}) == 1
    return name if alone else f"{name}, seed {record.seed}"


def positions_of(record: RunRecord) -> str:
    """What lengths in a run's windows count: `bytes`, or `tokens` where a tokenizer made them."""
    return "tokens" if record.data.tokenizer["sha256"] else "bytes"


def tokenizer_of(record: RunRecord) -> str:
    """What made the tokens: `bytes`, `characters`, or the name of a tokenizer.json and the beginning of its SHA-256."""
    tokenizer = record.data.tokenizer
    sha256 = tokenizer["sha256"]
    return tokenizer["name"] if sha256 is None else f"{tokenizer['name']} ({sha256[:8]})"


def same_data(records: Sequence[RunRecord]) -> None:
    """UserError unless the records' losses are on the same content, cut and tokenized in the same way."""
    names = {record.data.sha256: record.data.name for record in reversed(records)}  # one content, one name
    same("data", [f"{names[sha256]} (SHA-256 {sha256[:12]})" for sha256 in (record.data.sha256 for record in records)])
    same("data bytes", [record.data.bytes for record in records])
    same("data.context", [record.config["data"]["context"] for record in records])
    same("data.tokenizer", [tokenizer_of(record) for record in records])


def same(what: str, values: Sequence[object]) -> None:
    for value in values:
        if value != values[0]:
            raise UserError(
                f"these runs cannot be compared side by side: {what} is {values[0]} in one and {value} in another"
            )
