"""A figure as files: PNG and SVG, the same bytes in every run."""

from pathlib import Path
from typing import Any

from configs.printable import printable
from data.atomic_write import WriteError, make_parent

# Fixed ids and real text make the SVG the same in every run and its words searchable.
DPI = 200  # of the PNG
# A label is TeX only where it says so (parse_math): a name may hold any number of dollars.
REPRODUCIBLE: Any = {"svg.hashsalt": "synchrony", "svg.fonttype": "none", "text.parse_math": False}


def write_figure(figure: Any, path: Path) -> list[Path]:
    """Write a matplotlib figure to `path`.png and `path`.svg, its folder made where it is missing; the files.

    Raises WriteError.
    """
    from matplotlib.text import Text

    files = [path.with_name(path.name + ending) for ending in (".png", ".svg")]
    make_parent(path)
    for text in figure.findobj(Text):
        if (shown := printable(text.get_text())) != text.get_text():  # XML has no control characters
            text.set_text(shown)
    for file in files:
        try:
            figure.savefig(file, dpi=DPI, metadata={"Date": None} if file.suffix == ".svg" else None)
        except OSError as error:
            raise WriteError(file, error) from error
    return files


# Okabe and Ito's palette, for colour-blind readers: colour, line style, marker.
STYLES: dict[str, tuple[str, Any, str]] = {
    "transformer": ("#0072B2", "--", "s"),
    "kuramoto": ("#009E73", ":", "^"),
    "fsn": ("#D55E00", "-", "o"),
    "fsn_native": ("#CC79A7", "-.", "D"),
    "osn": ("#E69F00", (0, (5, 1, 1, 1, 1, 1)), "P"),
}


OTHER = ("#000000", (0, (1, 1, 4, 1)), "v")

LINES = ("-", "--", ":", "-.")  # of further variants of one model


def paler(color: str, steps: int) -> str:
    """A colour, `#rrggbb`, mixed with white: the more, the more steps, up to three."""
    share = 1 - 0.6 ** min(steps, 3)
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (235 - part) * share) if part < 235 else part:02x}" for part in parts)
