"""A figure as files: PNG and SVG, the same bytes in every run."""

from pathlib import Path
from typing import Any

from data.atomic_write import WriteError, make_parent

# Fixed ids and real text make the SVG the same in every run and its words searchable.
DPI = 200  # of the PNG
REPRODUCIBLE: Any = {"svg.hashsalt": "synchrony", "svg.fonttype": "none"}


def write_figure(figure: Any, path: Path) -> list[Path]:
    """Write a matplotlib figure to `path`.png and `path`.svg, its folder made where it is missing; the files.

    Raises WriteError.
    """
    files = [path.with_name(path.name + ending) for ending in (".png", ".svg")]
    make_parent(path)
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
