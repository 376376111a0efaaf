"""Run records side by side: `python -m results.compare results/records/NAME [--figure FILE]`.

Prints one row a run, then, where a model has several seeds, its mean over seeds and the difference to the transformer
of the same seed. Everything is computed from the records.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.entry import fail
from configs.errors import UserError
from results.document import Row, markdown
from results.evidence.settings import usual_settings
from results.figures.curves import plot_curves
from results.tables.comparison import comparison
from training.run_record.record import RunRecord, load_record

BASELINE = "transformer"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments`: those of the command line. UserError for records that cannot stand side by side."""
    parser = argparse.ArgumentParser(prog="python -m results.compare", description="Run records side by side.")
    parser.add_argument("records", nargs="+", type=Path, help="record files, run directories, or folders of records")
    parser.add_argument("--figure", type=Path, help="write the validation curves to FILE.png and FILE.svg")
    asked = parser.parse_args(arguments)
    records = [load_record(path) for path in record_files(asked.records)]
    rows = comparison(records)
    print(markdown(rows))
    if "settings" in rows[0]:
        for model, usual in usual_settings(records).items():
            print(f"\nUsual for {model}: {' '.join(f'{key}={value}' for key, value in usual.items())}")
    if means := seed_means(records):
        print("\n" + markdown(means))
    if asked.figure is not None:
        print("\n" + ", ".join(str(file) for file in plot_curves(records, asked.figure)))


def record_files(paths: Sequence[Path]) -> list[Path]:
    """The record files that the paths name, sorted within each folder. UserError for a folder without any."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not (path / "record.json").exists():
            inside = sorted(path.glob("*.json"))
            if not inside:
                raise UserError(
                    f"there is no record in {path}; give record files, run directories or folders of records"
                )
            found += inside
        else:
            found.append(path)
    return found


def seed_means(records: Sequence[RunRecord]) -> list[Row]:
    """A row for each model with several seeds: mean ± sample standard deviation over seeds of the final loss (bits per
    byte), and of the difference to the baseline's run of the same seed. Empty when no model has several.
    """
    final: dict[str, dict[int, float]] = {}
    for record in records:
        of_model = final.setdefault(str(record.config["model"]["name"]), {})
        if record.seed in of_model:
            return []  # the runs differ in more than their seed: a mean over them would mean nothing
        of_model[record.seed] = _final(record)["bits_per_byte"]
    rows = []
    for model, seeds in sorted(final.items(), key=lambda item: statistics.mean(item[1].values())):
        shared = sorted(seeds.keys() & final.get(BASELINE, {}).keys())
        if len(seeds) > 1:
            differences = [seeds[seed] - final[BASELINE][seed] for seed in shared]
            rows.append(
                {
                    "model": model,
                    "seeds": str(len(seeds)),
                    "bits per byte": _mean(list(seeds.values())),
                    f"minus {BASELINE}": "" if model == BASELINE or len(shared) < 2 else _mean(differences, sign="+"),
                }
            )
    return rows


def _final(record: RunRecord) -> dict[str, Any]:
    assert record.final is not None, "comparison() refuses runs that are not done"
    return record.final


def _mean(values: Sequence[float], sign: str = "") -> str:
    return f"{statistics.mean(values):{sign}.4f} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        fail(error)
