"""Text in columns: of Parquet and Arrow files and of JSON lines, row after row.

A null is an empty text, and so is a column of nulls; a line says how many there were. Text may be of any type that
holds it: string, large_string, a dictionary of strings, bytes of UTF-8.
"""

import functools
import json
import logging
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.errors import UserError
from configs.printable import shortened
from data.file_kind import ARROW, PARQUET, Kind
from data.files import kind_of_file
from data.lines import byte_lines
from data.unpacking import Expansion, refused

log = logging.getLogger(__name__)

ROWS = 256  # read at a time
TRANSLATION = "translation"  # the column of sentences in several languages, as the WMT data sets have it


def parquet_rows(path: Path, column: str) -> Iterator[str]:
    """The rows of a column of a Parquet file. UserError where it is damaged, lacks the column or holds no text."""
    return _texts(path, column, (batch.column(0).to_pylist() for batch in _parquet_batches(path, lambda _: [column])))


def parquet_pairs(path: Path, names: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The rows of two columns of a Parquet file, or of two fields of its column `translation`. UserError as of
    `parquet_rows`.
    """

    def rows() -> Iterator[list[Any]]:
        for batch in _parquet_batches(path, lambda there: [TRANSLATION] if TRANSLATION in there else list(names)):
            nested = batch.schema.names == [TRANSLATION]
            if nested:
                kind = batch.column(0).type
                fields = [kind.field(n).name for n in range(kind.num_fields)] if str(kind).startswith("struct<") else []
                for name in names:
                    _require(path, f"{TRANSLATION}.{name}", [f"{TRANSLATION}.{field}" for field in fields])
            for row in batch.column(0).to_pylist() if nested else batch.to_pylist():
                yield [(row or {}).get(name) for name in names]

    texts = _texts(path, f"{names[0]} or {names[1]}", rows())
    return zip(texts, texts, strict=True)


def arrow_rows(path: Path, column: str) -> Iterator[str]:
    """The rows of a column of an Arrow file, a stream as the datasets library writes them, or a file with an index.

    UserError as of `parquet_rows`.
    """

    def rows() -> Iterator[list[Any]]:
        pyarrow = _pyarrow(path)
        _require_kind(path, ARROW)
        try:
            with pyarrow.memory_map(str(path)) as source:
                for batch in _record_batches(pyarrow, source):
                    _require(path, column, batch.schema.names)
                    values = batch.column(column)
                    values.validate(full=True)  # Arrow trusts a file's offsets, and would read outside of it
                    yield values.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{path} is damaged or not an Arrow file ({first_line(error)}); get it again") from error

    return _texts(path, column, rows())


def json_rows(path: Path, column: str) -> Iterator[str]:
    """The field of each line of a file of JSON lines, also a compressed one. Blank lines are skipped.

    UserError for a line that is no JSON object or lacks the field, and as of `unpacked_chunks`.
    """

    def rows() -> Iterator[list[Any]]:
        for number, line in enumerate(byte_lines(path), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                reason = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
                is_array = line.lstrip().startswith(b"[") and isinstance(error, ValueError)
                advice = f"give one object a line{_by_jq(path) if is_array else ''}"
                raise UserError(f"line {number} of {path} is not JSON ({reason}); {advice}") from error
            if isinstance(row, list):
                raise UserError(f"line {number} of {path} is a JSON array; give one object a line{_by_jq(path)}")
            if not isinstance(row, dict) or column not in row:
                raise UserError(f"line {number} of {path} has no field {column}; rename the one with the text")
            yield [row[column]]

    return _texts(path, column, rows())


def _by_jq(path: Path) -> str:
    """How an array becomes lines."""
    if kind_of_file(path) is not None:
        return ": unpack it, and turn its array into lines with jq -c '.[]' FILE > NEW.jsonl"
    return f": type jq -c '.[]' {shlex.quote(str(path))} > NEW.jsonl"


def _parquet_batches(path: Path, columns: Callable[[list[str]], list[str]]) -> Iterator[Any]:
    """Batches of rows, of the columns that are chosen among those present."""
    pyarrow = _pyarrow(path)
    from pyarrow import parquet

    _require_kind(path, PARQUET)
    try:
        with parquet.ParquetFile(path) as file:
            chosen = columns(file.schema_arrow.names)
            for column in chosen:
                _require(path, column, file.schema_arrow.names)
            yield from file.iter_batches(batch_size=ROWS, columns=chosen)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged or not a Parquet file ({first_line(error)}); get it again") from error


def _record_batches(pyarrow: Any, source: Any) -> Iterator[Any]:
    indexed = source.read(6) == b"ARROW1"
    source.seek(0)
    if not indexed:
        yield from pyarrow.ipc.open_stream(source)
        return
    file = pyarrow.ipc.open_file(source)
    yield from (file.get_batch(number) for number in range(file.num_record_batches))


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise UserError(f"{path} needs the package pyarrow; pip install datasets brings it") from error
    return pyarrow


def _require_kind(path: Path, kind: Kind) -> None:
    """UserError for a file of another known kind; the library says what is wrong with one of no known kind."""
    found = kind_of_file(path)
    if found is not None and found is not kind:
        raise refused(path, found)


def _require(path: Path, column: str, names: list[str]) -> None:
    """UserError where there is no such column, or two of the name."""
    if (n := names.count(column)) != 1:
        how_many = "no column" if n == 0 else f"{n} columns"
        raise UserError(
            f"{path} has {how_many} {column} (it has {shortened(', '.join(names) or 'none')}); rename the one that "
            "holds the text"
        )


def _texts(path: Path, column: str, batches: Iterator[list[Any]]) -> Iterator[str]:
    """The values of batches as text. UserError where one is something else, and for a decompression bomb."""
    nulls, expansion = 0, None
    try:
        for batch in batches:
            expansion = expansion or Expansion(path)
            for value in batch:
                nulls += value is None
                text = _text_of(value, path, column)
                expansion.add(len(text))
                yield text
    except UnicodeDecodeError:
        raise UserError(f"{path} holds bytes in {column} that are not UTF-8; write them as text") from None
    if nulls:
        _tell(f"{path}: {counted(nulls, 'null value')} of {column} read as empty text")


@functools.cache  # a file may be read several times
def _tell(line: str) -> None:
    log.warning(line)


def _text_of(value: object, path: Path, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise UserError(f"{path} holds a {type(value).__name__} in {column} where text should be; leave such rows out")
    return value


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
