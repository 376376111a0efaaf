"""metrics.jsonl: the rows of a run, one JSON a line, written as the run goes."""

import functools
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from configs.counted import counted
from configs.errors import UserError
from training.run_record.rows import MetricRow
from training.run_record.strict_json import strict_json

Row = dict[str, Any]
FEW = 4  # damaged lines that a warning names


@functools.cache
def row_form() -> TypeAdapter[Any]:
    """What a row is checked against."""
    return TypeAdapter(MetricRow)


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl. A last line that a crash cut off, without \\n, is left out without a word; it is
    a row if only the \\n lacks.

    Every other line that is no row is left out too, and one warning names them. Raises UserError for a file that
    cannot be read.
    """
    try:
        *lines, cut_off = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    rows, damaged = [], []
    for number, line in enumerate([*lines, cut_off], 1):
        try:
            row = strict_json(line.decode())
            row_form().validate_python(row)
            rows.append(row)
        except (ValueError, RecursionError):
            if number <= len(lines):
                damaged.append(number)
    if damaged:
        n_whole = len(lines) - len(damaged)
        which = ", ".join(map(str, damaged[:FEW])) + (f" and {len(damaged) - FEW} more" if len(damaged) > FEW else "")
        print(
            f"warning: {path}: line {which} is damaged and left out; {n_whole} of {counted(len(lines), 'line')} whole",
            file=sys.stderr,
        )
    return rows
