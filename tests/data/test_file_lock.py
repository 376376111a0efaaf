import errno
import fcntl
import os

import pytest
from filelock import Timeout

from configs.errors import UserError
from data import atomic_write
from data.atomic_write import WriteError
from data.file_lock import acquired, locked, marker
from training.run_record.run_directory import LOCK, claimed


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL])
def without_locks(request, monkeypatch):
    """As on an NFS disk without its lock daemon."""

    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(atomic_write, "_warned", set())


def test_a_lock_is_held_by_one(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(Timeout):
        acquired(tmp_path / "lock", timeout=0)
    with locked(tmp_path / "lock", timeout=0):
        assert not marker(tmp_path / "lock").exists()


def test_without_locks_a_marker_takes_their_place_after_one_warning(tmp_path, without_locks, capsys):
    with locked(tmp_path / "lock"), pytest.raises(Timeout):
        acquired(tmp_path / "lock", timeout=0)
    with locked(tmp_path / "lock", timeout=0):
        pass
    assert not marker(tmp_path / "lock").exists()
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the file system of {tmp_path} has no locks") and said.count("\n") == 1


def test_a_run_directory_without_locks(tmp_path, without_locks):
    folder = tmp_path / "run"
    with claimed(folder, overwrite=False):
        (folder / "record.json").write_text("{}")
        with pytest.raises(UserError, match=rf"another process .*; if there is none, delete {marker(folder / LOCK)}$"):
            claimed(folder, overwrite=False).__enter__()
    with claimed(folder, overwrite=True):
        assert marker(folder / LOCK).exists()
        assert not marker(tmp_path / "run-old-1" / LOCK).exists()
    assert not marker(folder / LOCK).exists()


def test_a_lock_that_is_refused_for_another_reason_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(WriteError, match="Input/output error"):
        acquired(tmp_path / "lock", timeout=0)


def test_a_run_that_cannot_be_moved_aside_is_one_line(tmp_path, monkeypatch):
    """As of a folder in the image of a container: overlayfs renames none."""
    with claimed(tmp_path / "run", overwrite=False):
        (tmp_path / "run" / "record.json").write_text("{}")

    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(WriteError, match=r"^cannot write .*run-old-1: Invalid cross-device link$"):
        claimed(tmp_path / "run", overwrite=True).__enter__()
