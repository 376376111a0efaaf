"""The lines of a text file, also of a compressed one."""

from collections.abc import Iterator
from pathlib import Path

from configs.errors import UserError
from data.unpacking import unpacked_chunks

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, as editors on Windows put it first


def byte_lines(path: Path, key: str = "data.path") -> Iterator[bytes]:
    """The lines of a file without their \\n, and without a byte order mark. UserError as of `unpacked_chunks`."""
    first = True
    for line in _lines(unpacked_chunks(path, key)):
        yield line.removeprefix(BYTE_ORDER_MARK) if first else line
        first = False


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []  # pieces of a line that goes on: joined once, however long it is
    for chunk in chunks:
        head, *lines = chunk.split(b"\n")
        begun.append(head)
        if lines:
            yield b"".join(begun)
            *whole, rest = lines
            yield from whole
            begun = [rest]
    if last := b"".join(begun):
        yield last


def text_lines(path: Path, key: str = "data.path") -> Iterator[str]:
    """The lines of a text file, without what ends them, \\n or \\r\\n. UserError for one that is not UTF-8."""
    for number, line in enumerate(byte_lines(path, key), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"line {number} of {path} is not UTF-8 (byte 0x{line[error.start]:02x}); convert the file, for "
                "example with iconv -f latin1 -t utf-8"
            ) from None
        yield text.removesuffix("\r")
