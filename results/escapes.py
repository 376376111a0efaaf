"""Text as Markdown, LaTeX and CSV take it literally, whoever wrote it: one function for each, used by results.document.

HTML is escaped by Jinja (results.report), and so is the text of figures by matplotlib (results.figures.style).
"""

import re
from typing import Any

from configs.printable import in_one_line

# A code span of one backquote on each side; what else has a backquote is none, and all of it is escaped.
CODE = re.compile(r"((?<!`)`[^`]+`(?!`))")
# What begins HTML, a link or an entity, or ends a code span.
MARKDOWN = re.compile(r"[\\`]|<(?=[A-Za-z/!?])|\](?=[(\[:])|&(?=#?\w+;)")

# Characters that LaTeX reads as its own ([ and * also behind the end of a row), and those of ours that its fonts lack.
LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {c: f"{{{c}}}" for c in "[]*"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {
        "±": r"$\pm$",
        "≥": r"$\ge$",
        "≈": r"$\approx$",
        "…": r"\dots{}",
        "°": r"$^\circ$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
    }
    | {"\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--"}
    | {chr(code): rf"$\{name}$" for code, name in ((0x393, "Gamma"), (0x394, "Delta"), (0x3B1, "alpha"))}
    | {chr(code): rf"$\{name}$" for code, name in ((0x3B8, "theta"), (0x3BA, "kappa"))}
)

# What spreadsheets take for a formula, at the start of a cell or behind what separates cells for some of them; also as
# the full-width characters (OWASP, CSV injection).
FORMULA = re.compile(r"(^|[;\t\r\n])(?=\s*[=+@\-\uff1d\uff0b\uff20\uff0d])")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def for_markdown(text: str) -> str:
    """Text in one line, with `code` in backquotes; everything else is shown as it is written."""
    parts = CODE.split(in_one_line(text))
    return "".join(part if n % 2 else MARKDOWN.sub(r"\\\g<0>", part) for n, part in enumerate(parts))


def for_markdown_cell(text: str) -> str:
    """The same in a cell of a table, which a pipe would end, also within code."""
    return for_markdown(text).replace("|", r"\|")


def for_latex(text: str) -> str:
    """Text in one line."""
    return in_one_line(text).translate(LATEX)


def for_csv(value: Any) -> Any:
    """A number as it is; text that no spreadsheet runs: an apostrophe precedes what would be a formula."""
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return in_one_line(FORMULA.sub(r"\1'", value))
