"""Files that are either whole or not there: written under a temporary name, forced to the disk, and only then named."""

import contextlib
import errno
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError

DAY = 24 * 3600.0  # seconds
# What a file system answers to a call that it does not have: network disks, FUSE.
NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
TEMPORARY = f"{'[0-9a-f]' * 32}.tmp"  # pattern of the names that files in the making have


class WriteError(UserError):
    """A file could not be written: the disk is full, a limit was met, or the folder is not ours."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"cannot write {path}: {cause.strerror or cause}")


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """An error of the system inside is raised as WriteError for `path`."""
    try:
        yield
    except OSError as error:
        raise WriteError(path, error) from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file, its folder too where that is missing. Raises WriteError.

    A process that dies at any moment leaves the old file or the new one, never a part.
    """

    def fill(file: BinaryIO) -> str:
        file.write(content)
        return path.name

    with write_errors(path):
        write_whole(path.parent, fill)


def write_whole(folder: Path, fill: Callable[[BinaryIO], str]) -> Path:
    """A new file in `folder`, named by what `fill(file)` returns, written as `write_atomically` does. Raises OSError.

    An older file of that name is replaced; whoever has it mapped keeps the old pages. What a process that was killed
    left behind is removed a day later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(TEMPORARY):  # ours, whatever else the folder is used for
        with contextlib.suppress(OSError):  # another process may be doing the same, or it is not ours
            if time.time() - leftover.stat().st_mtime > DAY:
                leftover.unlink()
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            name = fill(file)
            file.flush()
            _force(file.fileno(), folder)
        os.replace(temporary, folder / name)
        sync_file(folder)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return folder / name


def make_parent(path: Path) -> None:
    """Make the folder that `path` is to lie in, where it is missing. Raises WriteError."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def sync_file(path: Path) -> None:
    """Force what was written to a file to the disk; of a folder its names, so that a rename outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _force(descriptor, path)
    finally:
        os.close(descriptor)


def _force(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        warn_once(
            "fsync",
            f"the file system of {path} cannot force files to the disk ({error.strerror}); what is written last may be "
            "lost in a power cut",
        )


_warned: set[str] = set()


def warn_once(of: str, text: str) -> None:
    """A warning on stderr, one a process `of` each kind."""
    if of not in _warned:
        _warned.add(of)
        print(f"warning: {text}", file=sys.stderr)
