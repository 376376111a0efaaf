"""A file of the cache, mapped into memory and watched.

Reading a page that the file no longer has ends a process by SIGBUS, silently. So the file is looked at before each
batch, which takes microseconds.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from configs.counted import counted
from configs.errors import UserError


class MappedFile:
    """An open file that arrays are views of. It stays readable when its name is removed. UserError where it is gone."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.sha256 = sha256
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise UserError(f"the data cache's {path} is gone ({error.strerror}); start again, to build it") from error
        self._size, self._time = self._state()

    def array(self, dtype: type[np.unsignedinteger[Any]], start: int, stop: int) -> np.ndarray:
        """Elements start .. stop - 1, read-only. UserError as of `require_unchanged`."""
        self.require_unchanged()
        mapped = np.memmap(self._file, dtype, "r", start * np.dtype(dtype).itemsize, (stop - start,))
        return np.asarray(mapped)  # a plain array over the same pages: indexing a memmap object is several times slower

    def require_unchanged(self) -> None:
        """UserError when the file was cut or written to since it was opened.

        One of the same size with a new time (touched, so that a cluster does not clean it away) is hashed once more.
        """
        size, time = self._state()
        if size == self._size and time != self._time:
            self._file.seek(0)
            if hashlib.file_digest(self._file, "sha256").hexdigest() == self.sha256:
                self._time = time
        if (size, time) != (self._size, self._time):
            what = f"had {counted(self._size, 'byte')} and has {size:,}" if size != self._size else "has other bytes"
            raise UserError(f"the data cache's {self.path} was changed in use: it {what}; start again to rebuild it")

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns
