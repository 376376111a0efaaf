"""The audit of an environment: each thing that may be wrong with a package is one line."""

import subprocess

import pytest

from configs.errors import UserError
from results import audit


class Installed:
    """A package that is installed, as importlib.metadata has it."""

    def __init__(self, name, version, files=()):
        self.name, self.version, self.files = name, version, files


class File:
    """A file of a package and the hash in its RECORD."""

    def __init__(self, path, value, mode="sha256"):
        self.path, self.hash = path, type("Hash", (), {"mode": mode, "value": value}) if value else None

    def locate(self):
        return self.path

    def __str__(self):
        return self.path.name


EMPTY = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"  # SHA-256 of nothing, as RECORD writes it


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """`environment(*packages)`: they alone are installed; a and b are locked at 1.0, pip finds nothing."""
    lock = tmp_path / "constraints.txt"
    lock.write_text("# a comment\na==1.0\nB_c==1.0  # and one\n")
    monkeypatch.setattr(audit, "LOCK", lock)
    monkeypatch.setattr(audit, "pip_check", lambda: ([], []))
    monkeypatch.setattr(audit, "known_vulnerabilities", lambda lock: ([], ["known vulnerabilities: no network"]))
    return lambda *packages: monkeypatch.setattr(audit, "distributions", lambda: packages)


def test_nothing_is_found(environment, capsys, tmp_path):
    whole = tmp_path / "whole"
    whole.touch()
    environment(Installed("a", "1.0+cu130", [File(whole, EMPTY), File(whole, None)]), Installed("pip", "9", []))
    assert audit.main([]) == 0
    out = capsys.readouterr().out
    assert "0 findings in 2 installed packages, 2 of them locked" in out
    assert "not checked: known vulnerabilities" in out and "not installed, so not checked: b-c" in out


def test_each_finding_is_a_line(environment, capsys, tmp_path):
    changed = tmp_path / "changed.py"
    changed.write_text("more")
    files = [File(changed, EMPTY), File(tmp_path / "missing.py", EMPTY), File(changed, EMPTY, "no such hash")]
    environment(
        *(Installed("a", "1.1", files), Installed("b.C", "1.0.1", None)),
        *(Installed("evil\x1b[31m", "3", []), Installed("nvidia-x", "1", [])),
    )
    assert audit.main([]) == 1
    found = [line.removeprefix("found: ") for line in capsys.readouterr().out.splitlines() if line.startswith("found")]
    assert found == [
        "a 1.1 is installed, 1.0 is locked",
        "b-c 1.0.1 is installed, 1.0 is locked",
        r"evil\x1b[31m 3 is installed and not locked",
        "a: 3 files not as installed: changed.py, missing.py, changed.py",
        "b-c has no list of its files",
    ]


def test_pip_and_pip_audit(monkeypatch, tmp_path):
    ended = subprocess.CompletedProcess([], 1, "a 1.0 requires b\n\n", "")
    monkeypatch.setattr(audit, "_run", lambda *arguments: ended)
    assert audit.pip_check() == (["a 1.0 requires b"], [])
    absent = subprocess.CompletedProcess([], 1, "", "No module named pip\n")
    with monkeypatch.context() as without:
        without.setattr(audit, "_run", lambda *arguments: absent)
        assert audit.pip_check() == ([], ["requirements: pip check did not end (No module named pip)"])
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: None)
    assert "pip-audit is not installed" in audit.known_vulnerabilities(tmp_path)[1][0]
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: True)
    for ended, result in (
        (subprocess.CompletedProcess([], 0, "No known vulnerabilities found", ""), ([], [])),
        (subprocess.CompletedProcess([], 1, "Name\na 1.0 PYSEC-1\n", ""), (["a 1.0 PYSEC-1"], [])),
        (subprocess.CompletedProcess([], 1, "", "x\nno network\n"), ([], ["(no network)"])),
    ):
        monkeypatch.setattr(audit, "_run", lambda *arguments, ended=ended: ended)
        vulnerable, unchecked = audit.known_vulnerabilities(tmp_path)
        assert vulnerable == result[0] and len(unchecked) == len(result[1])
        assert all(part in line for part, line in zip(result[1], unchecked, strict=True))


@pytest.mark.parametrize("line", ["a", "a>=1", "a==1\na==2", "a==1 --hash=sha256:x", "-r other.txt", "a @ http://b"])
def test_a_lock_of_another_form_is_refused(line, tmp_path):
    (tmp_path / "lock").write_text(line)
    with pytest.raises(UserError, match="is no pin, or a second one"):
        audit.read_lock(tmp_path / "lock")


def test_our_own_lock_can_be_read():
    pins = audit.read_lock(audit.LOCK)
    assert pins["torch"] and pins["pyyaml"] and len(pins) > 50
    with pytest.raises(UserError, match="takes no arguments"):
        audit.main(["x"])
