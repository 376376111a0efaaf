"""The content of a file, unpacked where it is compressed, whatever its name says; what is no text is refused.

A file may hold several compressed streams one after the other, with zero bytes between and after them (the padding of
the xz format; tapes leave zeros after gzip). Our choice: a file that unpacks to more than 100 times its size, and to
more than 64 MB, is refused as a decompression bomb; text is packed by 3 to 30.
"""

import bz2
import itertools
import lzma
import shlex
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from configs.errors import UserError
from data.file_kind import HEAD, TAR, Kind, kind_of
from data.files import kind_of_file, unreadable

CHUNK = 1 << 20  # bytes unpacked or read at a time
PACKED_CHUNK = (
    1 << 12
)  # bytes of compressed data given at a time: zstandard unpacks them whole, 130 MB at the very most
SUFFIXES = (".gz", ".xz", ".zst", ".bz2", ".lzma")
MOST_TIMES, NEVER_REFUSED = 100, 64 << 20  # of what a file unpacks to: times its size, bytes
ZSTD_WINDOW = 31  # log2 of bytes, the most that zstd --long=31 and --ultra write


def compression_of(path: Path, key: str = "data.path") -> str | None:
    """gz, xz, lzma, bz2 or zst by the file's content, None for one that is read as it is.

    UserError for a file that cannot be read or has a name of packed files and other content. NotText for one of a kind
    that is no text (an archive, a pointer of a large-file store), also when that is inside.
    """
    kind = kind_of_file(path, key)
    if kind is None and path.suffix.lower() in SUFFIXES:
        raise UserError(
            f"{path} is damaged or not a {path.suffix} file (it does not begin as one); get it again, or rename it if "
            "it is plain text"
        )
    if kind is None:
        return None
    if kind.codec is None:
        raise refused(path, kind)
    inner = kind_of(_first(_unpacked(path, kind.codec, key)))
    if inner is not None:
        inside = "compressed twice" if inner.codec else f"{kind.told}, and inside {inner.told}"
        raise refused(path, Kind(inside, inner.advice if inner == TAR else "unpack it first, and give that file"))
    return kind.codec


class NotText(UserError):
    """A file is whole, but no text."""


def refused(path: Path, kind: Kind) -> NotText:
    """The error to raise for a file that is not read because of what it is."""
    advice = kind.advice.replace("FILE", shlex.quote(str(path)))
    return NotText(f"{path} is {kind.told}; {advice}")


def unpacked_chunks(path: Path, key: str = "data.path") -> Iterator[bytes]:
    """The content of the file that the user's `key` names, unpacked if it is compressed.

    UserError when it is damaged, cut short or unreadable, as of `compression_of`, and for a decompression bomb.
    """
    compression = compression_of(path, key)
    return as_it_is(path, key) if compression is None else _unpacked(path, compression, key)


def as_it_is(path: Path, key: str = "data.path") -> Iterator[bytes]:
    """The bytes of a file as they lie on the disk. UserError when it cannot be read."""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise unreadable(path, error, key) from error


class Expansion:
    """How large a file has become. UserError from `add(n_bytes)` when that is more than text does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_bytes = 0
        try:
            self.most = max(NEVER_REFUSED, MOST_TIMES * path.stat().st_size)
        except OSError as error:
            raise unreadable(path, error) from error

    def add(self, n_bytes: int) -> None:
        self.n_bytes += n_bytes
        if self.n_bytes > self.most:
            raise UserError(
                f"{self.path} unpacks to more than {self.most / 1e6:,.0f} MB, over {MOST_TIMES} times its size, as "
                "hardly any text does; if it is to be read all the same, unpack it first and give that file"
            )


def _first(chunks: Iterable[bytes]) -> bytes:
    """The first HEAD bytes."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD:
            break
    return head[:HEAD]


def _unpacked(path: Path, codec: str, key: str) -> Iterator[bytes]:
    decoder, damage = _decoder(path, codec)
    try:
        expansion = Expansion(path)
        with path.open("rb") as file:
            for chunk in _streams(file, decoder):
                expansion.add(len(chunk))
                yield chunk
    except (EOFError, OSError, damage) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's; bz2's own has no number
            raise unreadable(path, error, key) from error
        if "llocation" in str(error):  # of zstd's window
            raise UserError(
                f"{path} needs more memory to unpack than there is ({error}); unpack it on another machine"
            ) from error
        raise UserError(
            f"{path} is damaged or not a .{codec} file ({error}); get it again or give another {key}"
        ) from error


def _streams(file: BinaryIO, new: Callable[[], Any]) -> Iterator[bytes]:
    """The content of all streams of a file. EOFError for one that ends before its end mark."""
    decoder = None
    while packed := file.read(PACKED_CHUNK):
        while packed:
            if decoder is None:
                packed = packed.lstrip(b"\0")
                if not packed:
                    break
                decoder = new()
            for given in itertools.chain((packed,), itertools.repeat(b"")):
                if chunk := decoder.decompress(given, CHUNK):
                    yield chunk
                if decoder.eof or decoder.needs_input:
                    break
            packed, decoder = (decoder.unused_data, None) if decoder.eof else (b"", decoder)
    if decoder is not None:
        raise EOFError("the compressed data ends before its end mark")


def _decoder(path: Path, codec: str) -> tuple[Callable[[], Any], type[Exception]]:
    """What makes the decoder of one stream, with the interface of bz2's and lzma's, and the error that it raises."""
    if codec == "gz":
        return _Gzip, zlib.error
    if codec == "bz2":
        return bz2.BZ2Decompressor, OSError
    if codec in ("xz", "lzma"):
        form = lzma.FORMAT_XZ if codec == "xz" else lzma.FORMAT_ALONE
        return lambda: lzma.LZMADecompressor(form), lzma.LZMAError
    if sys.version_info >= (3, 14):
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW}
        return lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError
    try:
        import zstandard
    except ImportError as error:
        raise UserError(f"{path} needs the package zstandard; pip install zstandard, or unpack the file") from error
    return _Zstandard, zstandard.ZstdError


class _Gzip:
    """zlib's decoder of a gzip member."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self.needs_input = True

    def decompress(self, packed: bytes, most: int) -> bytes:
        chunk = self._inner.decompress(self._inner.unconsumed_tail + packed, most)
        self.needs_input = not self._inner.unconsumed_tail and len(chunk) < most
        return chunk

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class _Zstandard:
    """zstandard's decoder of a frame. It gives all that it has at once."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor(max_window_size=1 << ZSTD_WINDOW).decompressobj()

    def decompress(self, packed: bytes, _: int) -> bytes:
        return bytes(self._inner.decompress(packed))

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)
