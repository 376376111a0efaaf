"""A document is the same table three times: to read, to print, to compute with."""

import csv

import pytest

from data.atomic_write import WriteError
from results.document import Document, Table

ROWS = [{"model": "fsn_native", "loss": "2.1 ± 0.1 (50 %)"}, {"model": "fsn", "loss": "not run"}]


@pytest.fixture
def document():
    data = [{"model": "fsn_native", "seed": 0, "loss": 2.125}, {"model": "fsn_native", "seed": 1, "bits": 3}]
    tables = [Table("First, ≥ 4 & more", ROWS, notes=["A note."], data=data), Table("Second", ROWS, data=data[:1])]
    return Document("mine", "Mine", tables, [("mine-curves", "What it shows")], ["How it was made."])


def test_markdown(document):
    text = document.markdown()
    assert text.startswith("# Mine\n\n## First, ≥ 4 & more\n\n| model      |")
    assert "| fsn_native | 2.1 ± 0.1 (50 %) |" in text
    assert "\n- A note.\n" in text and "![What it shows](mine-curves.png)" in text
    assert text.endswith("- How it was made.\n")


def test_latex_is_escaped(document):
    text = document.latex()
    assert r"\caption{First, $\ge$ 4 \& more}" in text
    assert r"fsn\_native & 2.1 $\pm$ 0.1 (50 \%) \\" in text
    assert text.count(r"\begin{tabular}{lr}\toprule") == text.count(r"\bottomrule\end{tabular}") == 2


def test_csv_holds_the_numbers(document, tmp_path):
    files = {path.name for path in document.write(tmp_path / "new")}
    assert files == {"mine.md", "mine.tex", "mine-1.csv", "mine-2.csv"}
    rows = list(csv.DictReader((tmp_path / "new" / "mine-1.csv").open()))
    assert rows[0] == {"model": "fsn_native", "seed": "0", "loss": "2.125", "bits": ""}
    assert rows[1]["bits"] == "3"
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        document.write(tmp_path / "file")


def test_numbers_of_tables_that_are_no_more_are_removed(document, tmp_path):
    for name in ("mine-7.csv", "mine.csv", "mine-enwik8-1.csv", "mine-7.png", "mine2.csv"):
        (tmp_path / name).touch()
    document.write(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()} - {"mine.md", "mine.tex", "mine-1.csv", "mine-2.csv"}
    assert kept == {"mine-enwik8-1.csv", "mine-7.png", "mine2.csv"}
