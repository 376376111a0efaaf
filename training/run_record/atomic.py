"""Files that are either whole or not there."""

import contextlib
import os
from pathlib import Path

from configs.errors import UserError


class WriteError(UserError):
    """A file could not be written: the disk is full, a limit was met, or the folder is not ours."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"cannot write {path}: {cause.strerror or cause}")


def temporary_name(path: Path) -> Path:
    """Where `path` is written before it takes its name."""
    return path.with_name(path.name + ".tmp")


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write `content` under a temporary name, force it to the disk, and only then give it its name.

    A process that dies at any moment leaves the old file or the new one, never a part. Raises WriteError.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_file(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise WriteError(path, error) from error


def make_parent(path: Path) -> None:
    """Make the folder that `path` is to lie in, where it is missing. Raises WriteError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(path, error) from error


def sync_file(path: Path) -> None:
    """Force what was written to a file to the disk; of a folder its names, so that a rename outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
