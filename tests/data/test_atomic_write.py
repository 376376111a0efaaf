import os
import signal

import pytest

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
