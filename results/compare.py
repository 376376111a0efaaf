"""Run records side by side: `python -m results.compare results/records/NAME [--figure FILE]`.

Prints one row a run, then, where runs of a model differ in the seed alone, means over seeds, differences to the
transformer, and the losses at equal cost. Everything is computed from the records.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.command import end_with
from configs.counted import counted
from configs.entry import refuse
from configs.errors import UserError
from configs.printable import in_one_line
from measures.statistics import difference_over_seeds, mean_over_seeds
from results.document import Row, markdown
from results.evidence.protocol import footnotes
from results.evidence.runs import cut_by_epochs, few
from results.evidence.settings import CIRCUMSTANCES, TRANSFORMER, differing_settings, label, usual_settings
from results.figures.curves import drawn, plot_curves
from results.tables.comparison import OVER_TEXT, comparison
from results.tables.equal_cost import by_name, cost_table
from training.run_record.record import RunRecord, load_record

OVER_SEEDS = "± of a mean: 95 % interval over seeds (Student's t); of a difference: Welch's, seeds are not paired."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; `arguments`: those of the command line. Exit code 1 where a record of a folder was left out, because
    it cannot be read. UserError for such a record that was named, and for records that cannot be compared.
    """
    parser = argparse.ArgumentParser(prog="python -m results.compare", description="Run records side by side.")
    parser.add_argument("records", nargs="+", type=Path, help="record files, run directories, or folders of records")
    parser.add_argument("--figure", type=Path, help="write the validation curves to FILE.png and FILE.svg")
    parser.error = refuse  # type: ignore[method-assign]  # one line, not its usage too
    asked = parser.parse_args(arguments)
    records, damaged = read_all(record_files(asked.records), named=asked.records)
    records = with_losses(records)
    compare(records)
    if asked.figure is not None:
        print(
            "\n"
            + ", ".join(str(file) for file in plot_curves(records, asked.figure))
            + in_one_line(f": {drawn(records)}")
        )
    return 1 if damaged else 0


def compare_finished(paths: Sequence[Path]) -> None:
    """The same for finished runs, at the end of a sweep; where there is no table, one line says why."""
    try:
        records, _ = read_all(paths)
        records = with_losses(records)
        if records:
            print("\nThe finished runs, as python -m results.compare shows them:\n")
            compare(records)
    except UserError as error:
        print(in_one_line(f"no table of these runs: {error}"))


def compare(records: Sequence[RunRecord]) -> None:
    """Print the tables. UserError for records that cannot be compared."""
    rows = comparison(records)
    print("\n\n".join([markdown(rows), OVER_TEXT, *map(in_one_line, footnotes(records))]))
    if "settings" in rows[0]:
        for model, usual in usual_settings(records).items():
            settings = " ".join(f"{key}={value}" for key, value in usual.items())
            if settings:
                print("\n" + in_one_line(f"Usual for {model}: {settings}"))
    models = runs_by_model(records)
    if reason := without_means(records):
        print("\n" + in_one_line(f"No means over seeds and no losses at equal cost: {reason}."))
    if means := seed_means(models):
        print(f"\n{markdown(means)}\n\n{OVER_SEEDS}")
    if costs := cost_table("", models):
        title = costs.title[0].upper() + costs.title[1:]
        print("\n" + "\n\n".join([in_one_line(title), markdown(costs.rows), *map(in_one_line, costs.notes)]))


def record_files(paths: Sequence[Path]) -> list[Path]:
    """The record files that the paths name, sorted within each folder; a folder holds record files or run directories.
    UserError for a folder without any.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir() and not (path / "record.json").exists():
            inside = sorted(path.glob("*.json")) or sorted(path.glob("*/record.json"))
            if not inside:
                raise UserError(
                    f"there is no record in {path}; give record files, run directories or folders of records"
                )
            files += inside
        else:
            files.append(path)
    return files


def read_all(paths: Sequence[Path], named: Sequence[Path] = ()) -> tuple[list[RunRecord], int]:
    """The records of finished runs at the paths, and how many cannot be read: a line on stderr says why a record is
    left out.

    UserError for one of those that are `named`, or where no other is left.
    """
    records: list[RunRecord] = []
    damaged = 0
    for number, path in enumerate(paths, start=1):
        last = not records and number == len(paths)
        try:
            record = load_record(path)
        except UserError as error:
            if path in named or last:
                raise
            print(in_one_line(f"left out, because it cannot be read: {error}"), file=sys.stderr)
            damaged += 1
            continue
        if record.final is not None:
            records.append(record)
        elif path in named or last:
            raise UserError(
                f"{path} is not finished ({record.status}): python -m results.status shows how far runs are, and the "
                f"command of a run, typed again, goes on with it"
            )
        else:
            print(in_one_line(f"left out, because it is not finished: {path} ({record.status})"), file=sys.stderr)
    return records, damaged


def with_losses(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records that have bits per byte; a line on stderr counts the others. UserError where all are others."""
    losses = [record for record in records if record.config.get("task") != "recall"]
    if without := len(records) - len(losses):
        told = "with task=recall, which has accuracies and no bits per byte: type make table-recall ARGS=runs=FOLDER"
        if not losses:
            raise UserError(f"{counted(without, 'run')} {told}")
        print(f"left out: {counted(without, 'run')} {told}", file=sys.stderr)
    return losses


def without_means(records: Sequence[RunRecord]) -> str | None:
    """Why there is no mean over the seeds of a model; None where there is one."""
    if keys := differing_settings(records, CIRCUMSTANCES):
        return f"runs of one model differ in {few(keys)}"
    if cut := [
        f"{label(record, records)}, step {record.final['step']:,}"
        for record in records
        if record.final and cut_by_epochs(record)
    ]:
        return f"trainer.max_epochs ended {few(cut)} before trainer.max_steps"
    runs = Counter((record.config["model"]["name"], record.seed) for record in records)
    twice = [f"{name} seed {seed}" for (name, seed), n in runs.items() if n > 1]
    return f"there are several runs of {few(twice)}" if twice else None


def runs_by_model(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The finished runs of each model, that of the least mean loss first; empty where runs of one model differ in more
    than their seed, because a mean over them would mean nothing.
    """
    if without_means(records):
        return {}
    models = by_name((str(record.config["model"]["name"]), record) for record in records)
    return dict(sorted(models.items(), key=lambda item: mean_over_seeds(_finals(item[1])).value))


def seed_means(models: Mapping[str, Sequence[RunRecord]]) -> list[Row]:
    """A row for each model with several seeds: the mean of the final loss (bits per byte) and its difference to the
    transformer's, with 95 % intervals over seeds. Empty when no model has several.
    """
    transformers = _finals(models.get(TRANSFORMER, ()))
    rows = []
    for model, runs in models.items():
        difference = difference_over_seeds(_finals(runs), transformers)
        if len(runs) > 1:
            rows.append(
                {
                    "model": model,
                    "seeds": str(len(runs)),
                    "bits per byte": mean_over_seeds(_finals(runs)).shown(),
                    f"minus {TRANSFORMER}": ""
                    if model == TRANSFORMER or difference is None
                    else f"{difference.shown('+')} {difference.side}",
                }
            )
    return rows


def _finals(runs: Sequence[RunRecord]) -> list[float]:
    """comparison() refuses runs that are not done."""
    return [float(run.final["bits_per_byte"]) for run in runs if run.final]


if __name__ == "__main__":
    end_with(main)
