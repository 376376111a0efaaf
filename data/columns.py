"""Text in a column of a Parquet or Arrow file, row after row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import UserError

ROWS = 256  # read at a time
TRANSLATION = "translation"  # the column of sentences in several languages, as the WMT data sets have it


def parquet_rows(path: Path, column: str) -> Iterator[str]:
    """The rows of a column of a Parquet file. UserError where it is damaged, lacks the column or holds no text."""
    pyarrow = _pyarrow(path)
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _require(path, column, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=ROWS, columns=[column]):
                yield from (text_of(value, path, column) for value in batch.column(0).to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged or not a Parquet file ({first_line(error)}); get it again") from error


def parquet_pairs(path: Path, names: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The rows of two columns of a Parquet file, or of two fields of its column `translation`. UserError as of
    `parquet_rows`.
    """
    pyarrow = _pyarrow(path)
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            nested = TRANSLATION in file.schema_arrow.names
            if not nested:
                for name in names:
                    _require(path, name, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=ROWS, columns=[TRANSLATION] if nested else list(names)):
                rows = batch.column(0).to_pylist() if nested else batch.to_pylist()
                for row in rows:
                    first, second = (text_of((row or {}).get(name), path, name) for name in names)
                    yield first, second
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged or not a Parquet file ({first_line(error)}); get it again") from error


def arrow_rows(path: Path, column: str) -> Iterator[str]:
    """The rows of a column of an Arrow file, a stream as the datasets library writes them, or a file with an index.

    UserError as of `parquet_rows`.
    """
    pyarrow = _pyarrow(path)
    try:
        with pyarrow.memory_map(str(path)) as source:
            for batch in _record_batches(pyarrow, source):
                _require(path, column, batch.schema.names)
                yield from (text_of(value, path, column) for value in batch.column(column).to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged or not an Arrow file ({first_line(error)}); get it again") from error


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


def _require(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise UserError(
            f"{path} has no column {column} (it has {', '.join(names)}); rename the one that holds the text"
        )


def text_of(value: object, path: Path, column: str) -> str:
    """A value as the text that it has to be. UserError where it is something else."""
    if not isinstance(value, str):
        raise UserError(f"{path} holds a {type(value).__name__} in {column} where text should be; leave such rows out")
    return value


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
