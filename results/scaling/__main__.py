"""docs/scaling.md from a measurement: `python -m results.scaling [record=FILE] [output=FILE.md]`, or `make scaling`.

Text of the page between `<!-- made: NAME -->` and `<!-- end -->` is replaced, all else is written by hand; the
figure lies beside it. The measurement: python bench.py task=scaling ... output=FILE, as the page says.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.command import end_with
from configs.errors import UserError
from configs.paths import expanded
from data.atomic_write import write_atomically
from results.document import Row, markdown
from results.evidence.runs import COMMITTED, NOT_RUNS

# The others need torch, which takes seconds to load: they are imported once the arguments are right.
if TYPE_CHECKING:
    from results.evidence.scaling import ScalingFile

PAGE = Path("docs/scaling.md")
RECORD = COMMITTED / NOT_RUNS / "scaling-cpu.json"
BLOCK = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
UNITS = {"FLOPs": "MFLOPs per token", "time": "microseconds per token", "memory": "MiB of a step"}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. UserError for a mistake, a file that is no measurement, and a page without its places."""
    record, page = RECORD, PAGE
    for text in sys.argv[1:] if arguments is None else arguments:
        key, equals, value = text.partition("=")
        if key not in ("record", "output") or not equals:
            raise UserError(f"{text}: takes record=FILE.json and output=FILE.md alone")
        path = Path(expanded(value, key))
        record, page = (path, page) if key == "record" else (record, path)
    from results.evidence.scaling import read_scaling
    from results.figures.scaling import plot_scaling

    measured = read_scaling(record)
    figure = page.with_suffix("")
    tokens = measured["config"]["batch_size"] * measured["config"]["context"]
    files = plot_scaling(
        measured["points"], tokens, figure, f"Training steps of {tokens:,} tokens on {where(measured)}"
    )
    template = page if page.exists() else PAGE
    write_atomically(page, filled(template.read_text(encoding="utf-8"), made(measured)).encode())
    print("written: " + ", ".join(map(str, [page, *files])))


def filled(text: str, parts: dict[str, str]) -> str:
    """The page with its made parts. UserError for one that has no place, or another place."""
    names = [name for _, name, _ in BLOCK.findall(text)]
    if sorted(names) != sorted(parts):
        raise UserError(f"the page has places for {', '.join(names)}; it takes each of {', '.join(parts)} once")
    return BLOCK.sub(lambda match: f"{match[1]}\n{parts[match[2]]}\n\n{match[3]}", text)


def made(measured: "ScalingFile") -> dict[str, str]:
    """What is made of a measurement, by the name of its place."""
    from results.evidence.scaling import AXES

    parts = {"measurement": provenance(measured)}
    parts |= {axis: f"{laws(measured, axis)}\n\n{ratios(measured, axis)}" for axis in AXES}
    return parts | {"hours": roofline(measured)}


def where(measured: "ScalingFile") -> str:
    """The device, as a table names it."""
    threads = measured["config"]["threads"]
    if measured["config"]["device"] != "cpu":
        return measured["device"]
    return measured["device"] + (f", {threads} thread{'s'[: threads != 1]}" if threads else "")


def provenance(measured: "ScalingFile") -> str:
    """How the numbers were made, and whether they are quick ones."""
    config, git = measured["config"], measured["git"]
    rounds = config["rounds"]
    lists = {key: f"[{','.join(map(str, config[key]))}]" for key in ("models", "lengths", "widths", "scales")}
    typed = [f"{key}={value}" for key, value in lists.items()]
    typed += [f"{key}={config[key]}" for key in ("batch_size", "context", "rounds")]
    typed += [] if config["threads"] is None else [f"threads={config['threads']}"]
    typed += [] if config["device"] == "cpu" else [f"device={config['device']}"]
    quick = " **This is a quick measurement: single times may be off by a quarter.**" if rounds < 5 else ""
    commit = (git.get("commit") or "no git")[:7] + (" with uncommitted changes" if git.get("dirty") else "")
    return (
        f"Times are medians of {rounds} round{'s'[: rounds != 1]} on {where(measured)}, precision "
        f"{config['precision']}, torch {measured['versions'].get('torch', 'unknown')}, commit {commit}.{quick} "
        "Measured and made by\n\n"
        f"    python bench.py task=scaling {' '.join(typed)} output=results/records/bench/{RECORD.name}\n"
        "    make scaling"
    )


def laws(measured: "ScalingFile", axis: str) -> str:
    """A table of the fitted laws along an axis, each with its error."""
    from results.evidence.scaling import along, fit, quantities

    config, rows = measured["config"], []
    for model in config["models"]:
        points = along(measured["points"], axis, model)
        row = {"model": model}
        for quantity, of in quantities(config["batch_size"] * config["context"]).items():
            law = fit(points, axis, quantity, of)
            row |= {UNITS[quantity]: law.law if law else "", f"error of {quantity}": f"{law.error:.1%}" if law else ""}
        rows.append(row)
    return markdown(rows, left=("model", *UNITS.values()))


def ratios(measured: "ScalingFile", axis: str) -> str:
    """A table of times over the first model's, by place."""
    from results.evidence.scaling import along

    models = measured["config"]["models"]
    places = [point.value for point in along(measured["points"], axis, models[0])]
    rows: list[Row] = []
    for model in models:
        cells = {point.value: f"{point.ratio:.2f}" for point in along(measured["points"], axis, model)}
        rows.append({f"time / {models[0]}": model} | {_named(axis, value): cells.get(value, "") for value in places})
    return markdown(rows, left=(f"time / {models[0]}",))


def _named(axis: str, value: int) -> str:
    if axis == "parameters":
        return f"{value / 1e6:g} M"
    return f"{'N' if axis == 'context' else 'w'} = {value:,}"


def roofline(measured: "ScalingFile") -> str:
    """The hours of the paper profile."""
    from results.scaling.roofline import hours, hours_rows, sweep_hours

    config = measured["config"]
    found = hours(measured["points"], config["batch_size"] * config["context"])
    if not found:
        return "Not measured at the scale of the paper profile."
    by_roofline, by_speed = sweep_hours(found)
    total = f"All runs of the sweep take {by_roofline:.1f} hours by the roofline"
    total += "." if by_speed is None else f", and {by_speed:,.0f} hours one after another at those speeds."
    return f"{markdown(hours_rows(found))}\n\n{total}"


if __name__ == "__main__":
    end_with(main, __doc__)
