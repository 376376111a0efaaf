"""Locks between processes, also on disks whose file system has none."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from data.atomic_write import NOT_SUPPORTED, WriteError, warn_once

# NFS without its lock daemon, besides what any call answers that a file system does not have.
WITHOUT_LOCKS = (*NOT_SUPPORTED, errno.ENOLCK)


@contextlib.contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a file, as `acquired` does."""
    lock = acquired(path, timeout)
    try:
        yield
    finally:
        lock.release()


def acquired(path: Path, timeout: float = -1) -> BaseFileLock:
    """The lock of a file, held by this process until it is released.

    Where the file system has no locks, a marker file beside it serves as the lock, after one warning a process: it
    names its process, and one left behind by a process of this machine that was killed is ignored.

    Raises filelock.Timeout when another process holds it for more than `timeout` seconds (-1: waits), and WriteError.
    """
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
            raise WriteError(path, error) from error
        lock = SoftFileLock(marker(path))
        warn_once(
            "locks",
            f"the file system of {path.parent} has no locks ({getattr(error, 'strerror', None) or error}); the file "
            f"{marker(path).name} takes their place: delete it where a process of another machine left it behind",
        )
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise
        except OSError as refused:
            raise WriteError(path, refused) from refused
    return lock


def marker(path: Path) -> Path:
    """The file that serves as a lock where the file system has none."""
    return path.with_name(f"{path.name}.held")
