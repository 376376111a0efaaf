"""The user's own files: found, hashed, read in chunks, unpacked. Whatever is wrong with one is told in one line."""

import gzip
import hashlib
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError
from configs.paths import expanded

CHUNK = 1 << 20  # bytes read at a time
LFS = b"version https://git-lfs"  # a pointer to a file begins so


def user_path(text: str, key: str = "data.path") -> Path:
    """The path that the user's `key` names, `~` expanded. UserError where there is no such home folder."""
    return Path(expanded(text, key))


def existing_file(text: str, key: str = "data.path") -> Path:
    """The file that the user's `key` names. UserError when it is missing, a folder, empty or unreadable."""
    path = user_path(text, key)
    try:
        if path.is_dir():
            raise UserError(f"{key}={text} is a folder; give a file")
        if not path.exists():
            raise UserError(f"{key}={text} does not exist (looked at {path.absolute()}); give a file that does")
        if not path.is_file():
            raise UserError(f"{key}={text} is a pipe or device, which cannot be read twice; give a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{key}={text} is empty; give a file with text in it")
    except OSError as error:
        raise unreadable(path, error, key) from error
    return path


def refuse_pointer(path: Path) -> None:
    """UserError where a Git LFS pointer lies in place of the file."""
    try:
        with path.open("rb") as file:
            if file.read(len(LFS)) == LFS:
                raise UserError(f"{path} is a Git LFS pointer, not the file itself; type git lfs pull, or get it again")
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception, key: str = "data.path") -> UserError:
    """The error to raise for a file that the system does not let us read."""
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot read {path}: {reason}; check the file or give another {key}=FILE")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as it lies on the disk, in hex. UserError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def compression_of(path: Path) -> str | None:
    """`gz`, `xz` or `zst` by the file's name, None for a plain file."""
    suffix = path.suffix.lower().removeprefix(".")
    return suffix if suffix in ("gz", "xz", "zst") else None


def unpacked_chunks(path: Path, key: str = "data.path") -> Iterator[bytes]:
    """The content of the file that the user's `key` names, unpacked if it is .gz, .xz or .zst. UserError when it is
    damaged, cut short or unreadable.
    """
    compression = compression_of(path)
    try:
        if compression == "zst":
            yield from _zstd_chunks(path, key)
        else:
            with _opened(path, compression) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, error, key) from error
    except OSError as error:
        raise unreadable(path, error, key) from error


def _opened(path: Path, compression: str | None) -> BinaryIO | gzip.GzipFile | lzma.LZMAFile:
    if compression == "gz":
        return gzip.open(path, "rb")
    return lzma.open(path, "rb") if compression == "xz" else path.open("rb")


def _zstd_chunks(path: Path, key: str) -> Iterator[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        try:
            with zstd.open(path, "rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except zstd.ZstdError as error:
            raise _damaged(path, error, key) from error
        return
    try:
        import zstandard
    except ImportError as error:
        raise UserError(f"{path} needs the package zstandard; pip install zstandard, or unpack the file") from error

    decoder = None
    try:
        with path.open("rb") as file:
            while packed := file.read(CHUNK):
                while packed:  # a file may hold several frames, one after the other
                    decoder = decoder or zstandard.ZstdDecompressor().decompressobj()
                    if chunk := decoder.decompress(packed):
                        yield chunk
                    packed, decoder = (decoder.unused_data, None) if decoder.eof else (b"", decoder)
    except zstandard.ZstdError as error:
        raise _damaged(path, error, key) from error
    if decoder is not None:  # zstandard itself does not complain about a frame without an end
        raise EOFError("the compressed data ends before its end mark")


def _damaged(path: Path, error: Exception, key: str) -> UserError:
    return UserError(f"{path} is damaged or not a {path.suffix} file ({error}); get it again or give another {key}")
