"""A paper table as files: Markdown to read, LaTeX to print, CSV to compute with, and the figures beside them."""

import csv
import glob
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.atomic_write import write_atomically
from results.escapes import for_csv, for_latex, for_markdown, for_markdown_cell
from results.evidence.runs import Run

Row = dict[str, str]  # column -> cell


@dataclass
class Table:
    """Rows of one protocol under a title. `left`: columns of words; `data`: the numbers behind them, for CSV;
    `recorded`: whether there is a run behind it at all.
    """

    title: str
    rows: list[Row]
    left: tuple[str, ...] = ("model", "settings")
    notes: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    recorded: bool = True


@dataclass
class Document:
    """What a target makes. `name`: of its files; `figures`: (file stem, caption)."""

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what holds for all of it: command, missing runs, footnotes
    runs: list[Run] = field(default_factory=list)  # those that it asks for, with and without a record
    left_out: list[str] = field(default_factory=list)  # records that cannot be read, and why
    not_run: list[tuple[str, str]] = field(default_factory=list)  # parts without any record, each with its command

    def markdown(self) -> str:
        """The whole document; figures lie beside it."""
        parts = [f"# {for_markdown(self.title)}"]
        for table in self.tables:
            parts += [f"## {for_markdown(table.title)}", markdown(table.rows, table.left) if table.rows else "No row."]
            parts += [_list(table.notes)] if table.notes else []
        for stem, caption in self.figures:
            # A bracket would end the alternative text.
            instead = for_markdown(caption.replace("[", "(").replace("]", ")"))
            parts.append(f"![{instead}]({stem}.png)\n\n{for_markdown(caption)}")
        parts += [_list(self.notes)] if self.notes else []
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """A `table` environment for each table; it needs the packages booktabs and graphicx."""
        return "\n".join(latex_table(table) for table in self.tables)

    def csv(self, table: Table) -> str:
        """The numbers of a table, one line each, with the names of their columns."""
        text = io.StringIO()
        columns = list(dict.fromkeys(key for numbers in table.data for key in numbers))
        writer = csv.writer(text, lineterminator="\n")
        for cells in (columns, *([numbers.get(key, "") for key in columns] for numbers in table.data)):
            writer.writerow(map(for_csv, cells))
        return text.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.md, NAME.tex and NAME.csv, or NAME-1.csv and so on for several tables; the files.

        CSV files of tables that no longer exist are removed.
        """
        files = {folder / f"{self.name}.md": self.markdown(), folder / f"{self.name}.tex": self.latex()}
        with_data = [table for table in self.tables if table.data]
        for number, table in enumerate(with_data, 1):
            files[folder / f"{self.name}{f'-{number}' if len(with_data) > 1 else ''}.csv"] = self.csv(table)
        own = re.compile(re.escape(self.name) + r"(-\d+)?\.csv")
        for path in folder.glob(f"{glob.escape(self.name)}*.csv"):
            if own.fullmatch(path.name) and path not in files:
                path.unlink()
        for path, text in files.items():
            write_atomically(path, text.encode())
        return list(files)


def amount(tokens: float, digits: int = 2) -> str:
    """How many tokens, in millions with so many digits where they are many."""
    return f"{tokens:,.0f}" if tokens < 100_000 else f"{tokens / 1e6:.{digits}f} M"


def _list(notes: Sequence[str]) -> str:
    return "\n".join(f"- {for_markdown(note)}" for note in notes)


def latex_table(table: Table) -> str:
    if not table.rows:
        return ""
    columns = list(table.rows[0])
    form = "".join("l" if column in table.left else "r" for column in columns)
    lines = [
        r"\begin{table}[t]\centering",
        rf"\caption{{{for_latex(table.title)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{form}}}\toprule",
        _cells(columns) + r" \midrule",
        *(_cells([row[column] for column in columns]) for row in table.rows),
        r"\bottomrule\end{tabular}}",
        *(rf"\par\footnotesize {for_latex(note)}" for note in table.notes),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _cells(cells: Sequence[str]) -> str:
    return " & ".join(for_latex(cell) for cell in cells) + r" \\"


def markdown(rows: Sequence[Row], left: Sequence[str] = ("model", "settings")) -> str:
    """Rows as a Markdown table that is aligned, so that it reads well in a terminal too. `left`: columns of words."""
    rows = [{for_markdown_cell(c): for_markdown_cell(cell) for c, cell in row.items()} for row in rows]
    left = [for_markdown_cell(c) for c in left]
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
