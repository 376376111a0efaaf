"""The user's own files: found, hashed, watched for changes. Whatever is wrong with one is told in one line."""

import hashlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from configs.errors import UserError
from configs.heartbeat import doing
from configs.paths import expanded
from configs.schema import DataConfig, ParallelConfig, StringsConfig
from data.file_kind import ANNEX, HEAD, Kind, kind_of

ONE_FILE = ("text", "text8", "text27", "enwik8")  # sources whose data.path is one file


def require_file(data: DataConfig | ParallelConfig | StringsConfig) -> None:
    """UserError where `data.path` has to be one file and is none: what can be told before torch is loaded, which takes
    seconds.
    """
    if isinstance(data, DataConfig) and data.source in ONE_FILE and data.path is not None:
        if data.source == "text" and user_path(data.path).is_dir():
            raise UserError(f"data.path={data.path} is a folder; give a file, or type data=code for the files in it")
        existing_file(data.path)


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
            raise missing_file(text, key)
        if not path.is_file():
            raise UserError(f"{key}={text} is a pipe or device, which cannot be read twice; give a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{key}={text} is empty; give a file with text in it")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise unreadable(path, error, key) from error
    return path


def missing_file(text: str, key: str = "data.path") -> UserError:
    """The error to raise for a path at which nothing is, or a link that leads nowhere."""
    path = user_path(text)
    if path.is_symlink():
        target = os.readlink(path)
        if ".git/annex/objects/" in target:
            return UserError(f"{key}={text} is {ANNEX.told}; {ANNEX.advice.replace('FILE', shlex.quote(text))}")
        return UserError(f"{key}={text} is a link to {target}, which does not exist; give a file that does")
    return UserError(f"{key}={text} does not exist (looked at {path.absolute()}); give a file that does")


def unreadable(path: Path, error: Exception, key: str = "data.path") -> UserError:
    """The error to raise for a file that the system does not let us read."""
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot read {path}: {reason}; check the file or give another {key}=FILE")


def kind_of_file(path: Path, key: str = "data.path") -> Kind | None:
    """The kind of a file by its content. UserError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return kind_of(file.read(HEAD))
    except OSError as error:
        raise unreadable(path, error, key) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as it lies on the disk, in hex. UserError when it cannot be read."""
    doing(f"hashing {path.name}")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def recorded_name(path: Path) -> str:
    """A file's name for records, which are UTF-8: bytes of it that are not are written as \\xNN."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


class WatchedFiles:
    """Files that are hashed first and read later: what was read has to be what was hashed."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before = {path: _stamp(path) for path in paths}

    def require_unchanged(self) -> None:
        """UserError when a file was changed, replaced or removed since."""
        for path, before in self._before.items():
            if _stamp(path) != before:
                raise UserError(f"{path} was changed while it was read; wait until it is whole, and start again")


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
