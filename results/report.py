"""The answer, then all tables and figures: `python -m results.report [output=docs/report.html] [runs=runs]`.

The page opens with the headline, which is always of the committed records. Everything else is folded: of a target only
its title and its outcome in one line are in sight. The page is a single HTML file that asks no network for anything:
style and figures are in it. It is made from the committed records, and those in a folder of runs where one is typed;
the same records give the same bytes, except in the line that names the commit. That line has the commit's date, never
the clock's.
"""

import base64
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from configs.command import end_with
from configs.errors import UserError
from configs.printable import in_one_line, printable
from data.atomic_write import write_atomically
from results.document import Document, Row, Table
from results.figures.style import DPI
from results.headline import headline
from results.outcome import outcome
from results.target import Asked, make_document, targets, title
from training.run_record.environment import git
from training.run_record.record import RunRecord

PAGE = Path("docs/report.html")
HEADLINE = "headline"
CLAIMS = "What is claimed"  # the title of a table of claims
# The verdicts on a claim; each is told by its sign and its words, colour only helps.
SIGNS = {"reproduced": "✓", "not reproduced": "✗", "inconclusive": "~", "not run": "○", "not comparable": "≠"}
LARGEST_SVG = 200_000  # bytes; a larger drawing is shown as PNG if that is smaller
PIXELS_PER_INCH = 80  # of a drawing: its letters of 10 points are 11 pixels high
LONG = 34  # characters: a column with a longer cell may break into lines
LONG_FIRST = 16  # likewise, of the first column: on a phone it stays in sight while the others scroll


@dataclass
class Section:
    """What one target made. `error`: why it could not be made."""

    target: str  # HEADLINE: of what the page opens with
    document: Document
    images: list[tuple[str, str, int]] = field(default_factory=list)  # (data URI, caption, width in CSS pixels)
    runs: dict[int, RunRecord] = field(default_factory=dict)  # by their number on the page
    error: str = ""

    @property
    def recorded(self) -> int:
        """How many of the runs that it asks for there are."""
        return sum(run.record is not None for run in self.document.runs)

    @property
    def claims(self) -> list[Table]:
        return [table for table in self.document.tables if CLAIMS in table.title]

    @property
    def tables(self) -> list[Table]:
        """Those with a run behind them, other than claims."""
        return [table for table in self.document.tables if table.recorded and CLAIMS not in table.title]

    @property
    def outcome(self) -> str:
        """What came out of it, in one line."""
        return f"could not be made: {self.error}" if self.error else outcome(self.tables)


@dataclass(frozen=True)
class SourceTree:
    """The commit of the source tree that made the page. `date`: the commit's, year first."""

    commit: str | None
    date: str
    dirty: bool | None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 when a target could not be made: its section says why."""
    output, overrides = PAGE, []
    for text in sys.argv[1:] if arguments is None else arguments:
        key, _, value = text.partition("=")
        if key not in ("output", "runs") or not value:
            raise UserError(f"{text}: the report takes output=FILE and runs=FOLDER, for example output={PAGE}")
        if key == "output":
            output = Path(value)
        else:
            overrides.append(text)
    sections = collect(targets(), overrides)
    page = render(sections, source_tree())
    write_atomically(output, page.encode())
    figures = sum(len(section.images) for section in sections)
    print(f"written: {output}, {len(sections)} sections, {figures} figures, {len(page.encode()) / 1e6:.2f} MB")
    failed = [section for section in sections if section.error]
    for section in failed:
        print(in_one_line(f"{section.target} could not be made: {section.error}"), file=sys.stderr)
    return 1 if failed else 0


def collect(wanted: Sequence[str], overrides: Sequence[str] = ()) -> list[Section]:
    """The headline, then each target, their figures as data URIs; the runs behind them are numbered as they are met."""
    numbers: dict[Path | None, int] = {}  # by record file: a run that several targets show has one number
    with tempfile.TemporaryDirectory() as folder:
        found = headline(Path(folder))
        sections = [Section(HEADLINE, found.document, images_of(found.document, Path(folder)))]
    for path, record in found.records.items():
        sections[0].runs[numbers.setdefault(path, len(numbers) + 1)] = record
    for target in wanted:
        name = target.partition("-")[2]
        with tempfile.TemporaryDirectory() as folder:
            try:
                document = make_document(Asked(name, output=Path(folder), overrides=list(overrides)))
            except UserError as error:
                sections.append(Section(target, Document(name, title(name)), error=str(error)))
                continue
            images = images_of(document, Path(folder))
        section = Section(target, document, images)
        for run in document.runs:
            if run.record is not None:
                section.runs[numbers.setdefault(run.path, len(numbers) + 1)] = run.record
        sections.append(section)
    return sections


def images_of(document: Document, folder: Path) -> list[tuple[str, str, int]]:
    """The figures of a document that were written into `folder`, as `Section.images` holds them."""
    paths = [(folder / stem, caption) for stem, caption in document.figures]
    return [(data_uri(path), caption, natural_width(path)) for path, caption in paths]


def data_uri(path: Path) -> str:
    """`path`.svg as a data URI, or `path`.png where the drawing is large and the picture smaller.

    As an image, not as inline SVG: the ids that matplotlib gives are those of every other figure too.
    """
    drawing, picture = (path.with_name(path.name + ending) for ending in (".svg", ".png"))
    size = drawing.stat().st_size
    chosen, form = (drawing, "svg+xml") if size <= max(LARGEST_SVG, picture.stat().st_size) else (picture, "png")
    return f"data:image/{form};base64,{base64.b64encode(chosen.read_bytes()).decode()}"


def natural_width(path: Path) -> int:
    """At how many CSS pixels the letters of a figure are about as large as those of the page."""
    header = path.with_name(path.name + ".png").read_bytes()[:24]
    return round(int.from_bytes(header[16:20], "big") / DPI * PIXELS_PER_INCH)


def source_tree() -> SourceTree:
    """The commit of this source tree, its date, and whether the tree was changed; empty where there is no git."""
    state = git()
    if state.commit is None:
        return SourceTree(None, "", None)
    command = ["git", "-C", str(Path(__file__).parent), "show", "-s", "--format=%cs", state.commit]
    date = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return SourceTree(state.commit, date, state.dirty)


def render(sections: Sequence[Section], tree: SourceTree) -> str:
    """The page, which opens with the headline where that is one of the sections."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: type(value)(printable(value)) if isinstance(value, str) else value,
    )
    environment.filters |= {
        "prose": prose,
        "cell": cell,
        "attributes": attributes,
        "badge": badge,
        "runs_text": runs_text,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    runs = {number: record for section in sections for number, record in section.runs.items()}
    corpora = {record.data.sha256: record.data for record in runs.values()}
    return environment.get_template("report.html.j2").render(
        first=next((section for section in sections if section.target == HEADLINE), None),
        sections=[section for section in sections if section.target != HEADLINE and (section.error or section.tables)],
        not_run=[(section, *part) for section in sections for part in section.document.not_run],
        claims=claims_by_verdict(sections),
        legend=claims_legend(sections),
        signs=SIGNS,
        runs=sorted(runs.items()),
        corpora=sorted(corpora.values(), key=lambda data: (data.name, data.sha256)),
        newest=max((record.finished or record.started for record in runs.values()), default=""),
        tree=tree,
    )


def claims_by_verdict(sections: Sequence[Section]) -> dict[str, list[tuple[Row, str, list[str]]]]:
    """By verdict, in the order of SIGNS: each claim's row, its target, and what the notes of its table say about it."""
    found: dict[str, list[tuple[Row, str, list[str]]]] = {}
    for section in sections:
        for table in section.claims:
            for row in table.rows:
                about = [note for note in table.notes if note.startswith(f"{row['claim']}: ")]
                found.setdefault(row["status"], []).append((row, section.target, about))
    return {verdict: found[verdict] for verdict in SIGNS if verdict in found}


def claims_legend(sections: Sequence[Section]) -> list[str]:
    """The notes under tables of claims that are about no single claim."""
    notes = [
        note
        for section in sections
        for table in section.claims
        for note in table.notes
        if not any(note.startswith(f"{row['claim']}: ") for row in table.rows)
    ]
    return list(dict.fromkeys(notes))


def cell(text: str) -> Markup:
    """A cell's text, "not run" in grey."""
    return Markup('<span class="none">{}</span>').format(text) if text == "not run" else prose(text)


def badge(verdict: str) -> Markup:
    """A verdict with its sign."""
    text = Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>')
    return text.format(verdict.replace(" ", "-"), SIGNS[verdict], verdict)


def attributes(table: Table, column: str) -> Markup:
    """The class of a column's cells: numbers are aligned right on one line, words left, long ones over several
    lines.
    """
    cells = [row[column] for row in table.rows]
    first = column == next(iter(table.rows[0]))
    if max(map(len, cells)) > (LONG_FIRST if first else LONG):
        return Markup(' class="text breaks"')
    words = first or column in table.left or any(text[-1:].isalpha() and text != "not run" for text in cells)
    return Markup(' class="text"' if words else "")


def prose(text: str) -> Markup:
    """Text with `code` in backquotes; everything else is taken as it is written."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backquote without its partner
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def runs_text(numbers: Sequence[int]) -> Markup:
    """Links to runs: 1-3, 7 for [1, 2, 3, 7]."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    link = Markup('<a href="#run-{0}">{0}</a>')
    texts = [Markup("\N{EN DASH}").join(link.format(n) for n in dict.fromkeys((s[0], s[-1]))) for s in spans]
    return Markup(", ").join(texts)


if __name__ == "__main__":
    end_with(main, __doc__)
