"""The report and README.md open with the same numbers, which are those of the committed records."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from results.evidence.runs import COMMITTED
from results.headline import HELPED, losses, meaning
from results.headline import headline as made

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def headline(tmp_path_factory):
    return made(tmp_path_factory.mktemp("headline"))


def test_each_loss_is_the_mean_over_the_seeds_on_record(headline):
    rows = {row["model"].split(",")[0]: row for row in headline.document.tables[0].rows}
    by_model = {}
    for path, record in headline.records.items():
        raw = json.loads((COMMITTED / path.relative_to(COMMITTED)).read_text())
        name = HELPED.split(",")[0] if "lag4" in path.name else record.config["model"]["name"]
        by_model.setdefault(name, []).append(raw["final"]["bits_per_byte"])
        assert raw["final"]["tokens"] == 8_007_680 and raw["final"]["bytes"] == 1_000_000
    assert rows.keys() == by_model.keys()
    for name, bits in by_model.items():
        assert rows[name]["bits per byte"].split(" ")[0] == f"{statistics.mean(bits):.4f}"
        assert ("±" in rows[name]["bits per byte"]) == (len(bits) > 1)
    difference = statistics.mean(by_model["fsn"]) - statistics.mean(by_model["transformer"])
    assert rows["fsn"]["minus transformer"].split(" ")[0] == f"\N{MINUS SIGN}{-difference:.3f}"


def test_readme_has_the_same_numbers(headline):
    """In the same order, up to the intervals that it leaves out."""
    ours = [[cell.split(" ± ")[0] for cell in row.values()] for row in headline.document.tables[0].rows]
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    theirs = [[cell.strip(" `").split(" ± ")[0] for cell in line.split("|")[1:-1]] for line in lines[: len(ours)]]
    for row, named in zip(ours, theirs, strict=True):
        assert (
            row[1:] == named[1:]
            and row[0].split(",")[0].split()[0] == named[0].replace("`", "").split(",")[0].split()[0]
        )


def test_its_words_follow_the_intervals(headline):
    """What is above, or not significant, is not said to be below."""
    runs = {}
    for path, record in headline.records.items():
        runs.setdefault("fsn" if path.name.startswith("fsn-") else record.config["model"]["name"], []).append(record)
    runs["transformer"] = [r for r in runs["transformer"] if not r.config["model"].get("lag_heads")]
    first = meaning(runs)[0]
    assert "fsn ends 0.087 ± 0.017 bits per byte below" in first and "osn ends 0.079 bits per byte below" in first
    level = statistics.mean(losses(runs["transformer"]))

    def ending(bits):
        changed = [
            replace(record, final=record.final | {"bits_per_byte": value})
            for record, value in zip(runs["fsn"], bits, strict=True)
        ]
        return meaning({**runs, "fsn": changed})[0]

    assert "bits per byte above a transformer" in ending([level + 0.2, level + 0.21, level + 0.22])
    assert "bits per byte (not significantly) above a transformer" in ending([level, level - 0.5, level + 0.6])


def test_its_figure_is_drawn_and_says_what_it_shows(headline):
    ((stem, caption),) = headline.document.figures
    assert stem == "headline" and "1,000,000 validation bytes, after 8,007,680 tokens" in caption
