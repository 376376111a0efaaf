"""What models recall of strings: accuracy and loss at the end, steps until an accuracy, accuracy at other lengths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.schema import DataConfig, StringsConfig
from configs.sweeps import Sweep
from data.strings import Strings
from measures.statistics import mean_over_seeds, shown_mean
from results.document import Document, Row, Table
from results.evidence.protocol import described, footnotes
from results.evidence.runs import Evidence, RecordFile, Run, gather
from results.figures.recall import Panel, Series, plot_recall
from training.run_record.record import RunRecord

RECALLED = 0.9  # accuracy from which a kind of string counts as recalled (our choice)
LEFT = ("model",)


def gather_kinds(
    sweep: Sweep,
    records: Sequence[RecordFile],
    damaged: Sequence[str] = (),
    corpus: Callable[[DataConfig], str | None] | None = None,
    rank: Callable[[RunRecord], Any] | None = None,
) -> list[Evidence]:
    """As `results.evidence.runs.gather`, with all kinds of strings in one part: they are columns.

    Records of strings that are made otherwise today do not count.
    """
    parts: dict[str, list[Evidence]] = {}
    for part in gather(sweep, records, damaged, _sha256, rank):
        setting = " ".join(text for text in part.setting.split() if not text.startswith("data="))
        parts.setdefault(setting, []).append(part)
    return [
        Evidence(
            sweep,
            of_kinds[0].runs[0].config.data.name if len(of_kinds) == 1 else "strings",
            [run for part in of_kinds for run in part.runs],
            list(damaged),
            setting,
        )
        for setting, of_kinds in parts.items()
    ]


def _sha256(data: Any) -> str:
    return Strings(data).sha256


@dataclass
class Kind:
    """The runs on one kind of strings, done or not."""

    strings: StringsConfig
    runs: list[Run] = field(default_factory=list)

    def finals(self, model: str) -> dict[int, dict[str, Any]]:
        """The last validation of each seed of a model that is done."""
        return {
            run.seed: run.record.final for run in self.runs if run.model == model and run.record and run.record.final
        }

    def validations(self, model: str) -> dict[int, list[dict[str, Any]]]:
        """All validations of each seed of a model that is done."""
        return {
            run.seed: run.record.rows("validation")
            for run in self.runs
            if run.model == model and run.record is not None
        }

    def at_length(self, model: str, length: int, key: str = "accuracy") -> dict[int, float]:
        """Of each seed, what its last validation has on strings of a length."""
        return {
            seed: float(at[key])
            for seed, final in self.finals(model).items()
            for at in final.get("lengths", [])
            if at["context"] == length
        }


def add_recall(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the tables, a line a model and a column a kind of strings, and the figure."""
    kinds: dict[str, Kind] = {}
    for run in evidence.runs:
        kinds.setdefault(run.config.data.name, Kind(run.config.data)).runs.append(run)
    models = list(dict.fromkeys(run.model for run in evidence.runs))
    seeds = len({run.seed for run in evidence.runs})

    def table(title: str, cell: Callable[[Kind, str], str], notes: Sequence[str] = ()) -> Table:
        rows: list[Row] = [
            {"model": model} | {name: cell(kind, model) for name, kind in kinds.items()} for model in models
        ]
        return Table(title, rows, LEFT, list(notes))

    def final(key: str) -> Callable[[Kind, str], str]:
        return lambda kind, model: shown_mean(
            {seed: row[key] for seed, row in kind.finals(model).items()}, seeds, digits=3
        )

    over = ", mean ± 95 % interval over seeds" if seeds > 1 else ""
    steps = sorted({run.config.trainer.max_steps or 0 for run in evidence.runs})
    after = f"after {' or '.join(f'{n:,}' for n in steps)} steps"
    accuracy = table(f"accuracy at the scored symbols {after}, 0 to 1{over}", final("accuracy"), describe(kinds))
    accuracy.notes += footnotes(evidence.records, one_data=False) + evidence.shortfall()
    accuracy.data = [_numbers(kind, run) for kind in kinds.values() for run in kind.runs if run.record is not None]
    document.tables.append(accuracy)
    document.tables.append(table(f"loss {after}, nats per scored symbol{over}", final("nats")))
    document.tables.append(
        table(
            f"steps until an accuracy of {RECALLED:g}{over}",
            lambda kind, model: _until_shown(kind, model, seeds),
            [f"The first validation with an accuracy of {RECALLED:g} or more; means of the seeds that reach it."],
        )
    )
    longer = [
        {"model": model}
        | {
            f"{name}, {length}": shown_mean(kind.at_length(model, length), seeds, digits=3)
            for name, kind in kinds.items()
            for length in kind.strings.lengths
            if length != kind.strings.context
        }
        for model in models
    ]
    if longer and len(longer[0]) > 1:
        title = f"accuracy {after} on strings of other lengths (symbols) than trained on{over}"
        document.tables.append(Table(title, longer, LEFT))
    if any(run.record for run in evidence.runs):
        title = f"Accuracy of recall {after}\n{described(evidence.records)}"
        plot_recall(panels(kinds, models), folder / stem, title)
        caption = (
            f"{evidence.corpus}: accuracy at the scored symbols, a column a kind. Above against training steps, below "
        )
        caption += (
            "at the end against the length of a string, the dotted line being the trained length. Means over seeds, "
        )
        caption += "bands from the least to the largest; grey: a guess among the symbols that it could be"
        document.figures.append((stem, caption))


def describe(kinds: Mapping[str, Kind]) -> list[str]:
    """What each kind of strings is, for a reader of the table."""
    words = {
        "repeat": "a random string, then its end again; scored from where few match by chance, {scored} of {length}",
        "mqar": "multi-query associative recall (zoology); scored are {scored} queries of {length} symbols",
        "selective_copying": "content among noise (Mamba), repeated at {scored} markers, of {length} symbols",
    }
    return [
        f"{name}: {kind.strings.alphabet} different symbols, "
        + words[kind.strings.source].format(
            scored=Strings(kind.strings).scored(kind.strings.context), length=kind.strings.context
        )
        + "."
        for name, kind in kinds.items()
    ]


def panels(kinds: Mapping[str, Kind], models: Sequence[str]) -> list[Panel]:
    """The two series of each model in each kind that has a run: accuracy by step, and by length at the end."""
    drawn = []
    for name, kind in kinds.items():
        by_step: dict[str, Series] = {}
        by_length: dict[str, Series] = {}
        for model in models:
            every = list(kind.validations(model).values())
            by_step[model] = _means([{row["step"]: row["accuracy"] for row in rows} for rows in every])
            ends = [
                {at["context"]: at["accuracy"] for at in row.get("lengths", [])} for row in kind.finals(model).values()
            ]
            by_length[model] = _means(ends)
        if any(by_step.values()):
            drawn.append(Panel(name, kind.strings.context, _guess(kind.strings), by_step, by_length))
    return drawn


def _guess(strings: StringsConfig) -> float:
    """The accuracy of a guess among the symbols that it could be."""
    among = {"mqar": strings.alphabet - strings.alphabet // 2, "selective_copying": strings.alphabet - 2}
    return 1 / among.get(strings.source, strings.alphabet)


def _means(of_seeds: Sequence[Mapping[int, float]]) -> Series:
    """(place, mean, least, largest) over seeds, at the places that all have."""
    places = sorted(set.intersection(*(set(each) for each in of_seeds))) if of_seeds else []
    columns = [(place, [each[place] for each in of_seeds]) for place in places]
    return [(place, sum(values) / len(values), min(values), max(values)) for place, values in columns]


def _until(rows: Sequence[dict[str, Any]]) -> int | None:
    """The step of the first validation at which strings are recalled; None: at none."""
    return next((int(row["step"]) for row in rows if row["accuracy"] >= RECALLED), None)


def _until_shown(kind: Kind, model: str, seeds: int) -> str:
    steps = {seed: _until(rows) for seed, rows in kind.validations(model).items()}
    reached = [float(step) for step in steps.values() if step is not None]
    if not steps:
        return "not run"
    if not reached:
        return "not reached" + ("" if len(steps) == seeds else f" ({len(steps)} of {counted(seeds, 'seed')})")
    share = "" if len(reached) == len(steps) == seeds else f" ({len(reached)} of {counted(len(steps), 'seed')})"
    return mean_over_seeds(reached).shown(digits=0) + share


def _numbers(kind: Kind, run: Run) -> dict[str, Any]:
    """What a run ended with, for those who compute with it."""
    record = run.record
    assert record is not None and record.final is not None
    row = {"corpus": record.data.name, "sha256": record.data.sha256, "model": run.model, "seed": run.seed}
    row |= {key: record.final[key] for key in ("step", "tokens", "context", "targets", "accuracy", "nats")}
    row[f"steps_until_{RECALLED:g}"] = _until(record.rows("validation"))
    for length in kind.strings.lengths:
        if at := next((at for at in record.final.get("lengths", []) if at["context"] == length), None):
            row |= {f"accuracy_{length}": at["accuracy"], f"nats_{length}": at["nats"]}
    return row | {"parameters": record.parameters["total"]}
