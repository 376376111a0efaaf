import errno
import os
import signal
import stat

import pytest

from data import atomic_write
from data.atomic_write import DAY, WriteError, make_parent, write_atomically, write_whole


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(call, full)
    with pytest.raises(WriteError, match=rf"cannot write {path}: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file_and_what_it_left_is_removed_a_day_later(tmp_path):
    write_atomically(tmp_path / "file", b"old")
    pid = os.fork()
    if pid == 0:
        write_whole(
            tmp_path, lambda file: (file.write(b"half") and file.flush()) or os.kill(os.getpid(), signal.SIGKILL)
        )
        os._exit(99)
    os.waitpid(pid, 0)
    assert (tmp_path / "file").read_bytes() == b"old"
    (leftover,) = (path for path in tmp_path.iterdir() if path.name != "file")
    assert leftover.read_bytes() == b"half"
    write_atomically(tmp_path / "file", b"new")
    assert leftover.exists(), "another process may be writing it"
    os.utime(leftover, (0, leftover.stat().st_mtime - DAY - 1))
    write_atomically(tmp_path / "file", b"newer")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"newer"]


def test_file_and_folder_are_forced_to_the_disk_around_the_renaming(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, call=call: (calls.append(name), call(*a)))
    assert write_whole(tmp_path / "new", lambda file: str(file.write(b"four"))) == tmp_path / "new" / "4"
    assert calls == ["fsync", "replace", "fsync"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "folder" / "new"
    for write in (make_parent, lambda path: write_atomically(path, b"")):
        with pytest.raises(WriteError, match=rf"^cannot write {path}: Not a directory$"):
            write(path)


@pytest.mark.parametrize("answer", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
@pytest.mark.parametrize("of_folders_alone", [True, False])
def test_a_file_system_without_fsync_is_warned_of_once(tmp_path, monkeypatch, capsys, answer, of_folders_alone):
    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or not of_folders_alone:
            raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(atomic_write, "_warned", set())
    monkeypatch.setattr(os, "fsync", refuse)
    for name in ("a", "b"):
        write_atomically(tmp_path / name, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new", b"new"]
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the file system of {tmp_path} cannot force files to the disk")
    assert said.count("\n") == 1


def test_a_folder_that_cannot_be_forced_for_another_reason_is_an_error(tmp_path, monkeypatch):
    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WriteError, match="Input/output error"):
        write_atomically(tmp_path / "file", b"new")
