"""Tables from run records. Rows that cannot be compared are refused."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from configs.compose import NOT_IN_HASH
from configs.errors import UserError
from configs.schema import MODELS, FSNConfig, RunConfig
from training.record import RunRecord
from training.run_directory import flat

Row = dict[str, str]
MOST_COLUMNS = 3  # settings that have a column each; more share one, which says what is unusual about a run
# Solved from other keys, shown by itself, or without influence on the result.
NOT_SETTINGS = (*NOT_IN_HASH, "seed", "model.ff_width")
# Settings that say where and how fast, or where the corpus lies, not what is computed.
CIRCUMSTANCES = {
    *("data.name", "data.source", "data.path", "compile", "precision", "ssa.backend"),
    *(f"trainer.{key}" for key in ("name", "accelerator", "devices", "strategy", "threads")),
    *("trainer.micro_batch_size", "trainer.checkpoint_epochs"),
}
# Keys that records of an FSN hold and configs no longer do: the new key and its values, or the value of a run without.
RENAMED = {"model.embedding": ("model.grading", {"uniform": 0.0, "graded": 1.0})}
DROPPED = {"model.lag": 0.0}  # constant gates of head h started at cos(nu lag h)
# What records from before a key ran with, where that is not its default of today.
BEFORE = {
    "model.grading": 0.0,
    "model.lag": 0.0,
    "model.floor": 0.0,
    "model.delayed_heads": 0,
    "model.position_share": [0.1, 0.6],
    "model.calibration_length": 256,
}


def comparison(records: Sequence[RunRecord]) -> list[Row]:
    """One row for each finished run: loss, size, speed and time, best first.

    Settings in which runs of one model differ have a column each. Where these are many, each row names those of its own
    that are not the usual ones among the runs of its model (`usual_settings`).

    The loss is the final validation; ± is its standard error over windows. UserError for a run that is not done, or
    whose data, context or number of validated bytes differs from the others'.
    """
    same_data(records)
    for record in records:
        if record.final is None:
            raise UserError(f"the run of {record.config['model']['name']} is not done: its status is {record.status}")
    same("final validation bytes", [record.final["bytes"] for record in records if record.final])
    settings, usual = differing_settings(records), usual_settings(records)
    return [
        {
            "model": label(record, records),
            **_settings_columns(record, settings, usual),
            "bits per byte": f"{final['bits_per_byte']:.4f} ± {final['standard_error']:.4f}",
            "tokens": f"{final['tokens']:,}",
            "parameters": f"{record.parameters['total']:,}",
            "tokens/s": f"{record.throughput.tokens_per_second:,.0f}",
            "seconds": f"{record.throughput.seconds:,.0f}",
        }
        for record, final in sorted(
            ((record, record.final) for record in records if record.final), key=lambda pair: pair[1]["bits_per_byte"]
        )
    ]


def differing_settings(records: Sequence[RunRecord], ignoring: Collection[str] = ()) -> list[str]:
    """Keys of the config in which records of the *same* model differ, besides the seed: what a sweep went through."""
    found: list[str] = []
    for record in records:
        for other in records:
            if other.config["model"]["name"] != record.config["model"]["name"]:
                continue
            ours, theirs = settings_of(record.config), settings_of(other.config)
            found += [key for key in ours if ours[key] != theirs.get(key) and key not in (*found, *ignoring)]
    return found


def usual_settings(records: Sequence[RunRecord]) -> dict[str, dict[str, str]]:
    """By model, the commonest value of each setting in which its runs differ; of equally common ones the default's."""
    usual: dict[str, dict[str, str]] = {}
    for model in sorted({str(record.config["model"]["name"]) for record in records}):
        of_model = [record for record in records if record.config["model"]["name"] == model]
        usual[model] = {}
        for key in differing_settings(of_model):
            counts = Counter(_shown(settings_of(record.config).get(key)) for record in of_model)
            default = _shown(_defaults(model).get(key))
            usual[model][key] = max(sorted(counts), key=lambda value: (counts[value], value == default))
    return usual


def _settings_columns(record: RunRecord, settings: Sequence[str], usual: Mapping[str, Mapping[str, str]]) -> Row:
    ours = settings_of(record.config)
    if len(settings) <= MOST_COLUMNS:
        return {key: _shown(ours[key]) if key in ours else "" for key in settings}
    shown = {key: (_shown(ours.get(key)), value) for key, value in usual[str(record.config["model"]["name"])].items()}
    return {"settings": " ".join(f"{key}={value}" for key, (value, commonest) in shown.items() if value != commonest)}


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """What in a run's config can change its result, by dotted keys; of a key it is older than, what it ran with."""
    name = str(config["model"]["name"])
    config = flat(config)
    for old, (new, values) in RENAMED.items():
        if old in config:
            config[new] = values[config.pop(old)]
    defaults = _defaults(name)
    config = defaults | {key: value for key, value in BEFORE.items() if key in defaults} | config
    ignored = tuple(f"{name}." for name in NOT_SETTINGS)
    return {key: value for key, value in config.items() if not f"{key}.".startswith(ignored)}


def _defaults(model: str) -> dict[str, Any]:
    defaults = flat(asdict(RunConfig()) | {"model": asdict(MODELS[model]()) if model in MODELS else {}})
    had_dropped = issubclass(MODELS.get(model, FSNConfig), FSNConfig)
    return defaults | {key: value for key, value in DROPPED.items() if had_dropped and key not in defaults}


def _shown(value: object) -> str:
    # As few digits as name the value: pi/2 must not be rounded to a threshold that is refused.
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def markdown(rows: Sequence[Row], left: Sequence[str] = ("model", "settings")) -> str:
    """Rows as a Markdown table that is aligned, so that it reads well in a terminal too. `left`: columns of words."""
    rows = [{c: cell.replace("|", r"\|") for c, cell in row.items()} for row in rows]  # else it would end the cell
    columns = list(rows[0])
    width = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}

    def line(cells: Row) -> str:
        return (
            "| "
            + " | ".join(cells[c].ljust(width[c]) if c in left else cells[c].rjust(width[c]) for c in columns)
            + " |"
        )

    rule = "|" + "|".join("-" * (width[c] + 2) if c in left else "-" * (width[c] + 1) + ":" for c in columns) + "|"
    return "\n".join([line({c: c for c in columns}), rule, *(line(row) for row in rows)])


def label(record: RunRecord, among: Sequence[RunRecord]) -> str:
    """The model's name, with the seed where another of the records has the same model."""
    name = str(record.config["model"]["name"])
    alone = len({other.seed for other in among if other.config["model"]["name"] == name}) == 1
    return name if alone else f"{name}, seed {record.seed}"


def same_data(records: Sequence[RunRecord]) -> None:
    """UserError unless the records' losses are of the same content, cut in the same way."""
    same("data", [record.data.sha256 for record in records])
    same("data bytes", [record.data.bytes for record in records])
    same("data.context", [record.config["data"]["context"] for record in records])


def same(what: str, values: Sequence[object]) -> None:
    for value in values:
        if value != values[0]:
            raise UserError(
                f"these runs cannot stand side by side: {what} is {values[0]} in one and {value} in another"
            )
