"""Whether what is installed is what was locked: `python -m results.audit`, or `make audit`.

Against constraints.txt: each package at its pin, none without a pin, its files as its own list of hashes has them
(RECORD, PEP 376), and its requirements met (`pip check`). Known vulnerabilities are looked up by pip-audit, where that
is installed and its database can be reached; what could not be checked is said. Exit code 1 where anything was found.
"""

import base64
import hashlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackagePath, distributions
from pathlib import Path

from configs.command import end_with
from configs.counted import counted
from configs.errors import UserError
from configs.printable import in_one_line

LOCK = Path(__file__).resolve().parent.parent / "constraints.txt"
# What makes the environment, and this project; other packages of the same index are of torch's CUDA build.
OURS = {"synchrony-attention", "pip", "wheel"}
OF_TORCH = re.compile(r"nvidia-.*|cuda-.*|triton")
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9._+!-]*)")
TIMEOUT = 300  # seconds, of pip and of pip-audit


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 where something is wrong. UserError for an argument, or a lock that cannot be read."""
    given = sys.argv[1:] if arguments is None else arguments
    if given:
        raise UserError(f"{given[0]}: the audit takes no arguments; type make audit")
    pins, installed = read_lock(LOCK), {normal(one.name): one for one in distributions()}
    unmet, unchecked = pip_check()
    vulnerable, without_network = known_vulnerabilities(LOCK)
    found = [*differing(pins, installed), *changed_files(installed), *unmet, *vulnerable]
    for line in found:
        print("found: " + in_one_line(line))
    absent = sorted(pins.keys() - installed.keys())
    if absent:
        print(f"not installed, so not checked: {', '.join(absent)}")
    for line in [*unchecked, *without_network]:
        print("not checked: " + in_one_line(line))
    print(f"{len(found)} findings in {len(installed)} installed packages, {len(pins)} of them locked in {LOCK.name}")
    return 1 if found else 0


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> dict[str, str]:
    """By package, the version that is locked. UserError for a line that is no pin."""
    pins: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; restore it with git checkout {path.name}") from None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        pin = PIN.fullmatch(text)
        if pin is None or normal(pin[1]) in pins:
            raise UserError(f"line {number} of {path} is no pin, or a second one: write NAME==VERSION, once")
        pins[normal(pin[1])] = pin[2]
    return pins


def differing(pins: dict[str, str], installed: dict[str, Distribution]) -> Iterator[str]:
    """Packages of another version than their pin, or without one. A build (2.13.0+cu130) is of its version."""
    for name, package in sorted(installed.items()):
        version = package.version
        if name not in pins:
            if name not in OURS and not OF_TORCH.fullmatch(name):
                yield f"{name} {version} is installed and not locked"
        elif version != pins[name] and version.partition("+")[0] != pins[name]:
            yield f"{name} {version} is installed, {pins[name]} is locked"


def changed_files(installed: dict[str, Distribution]) -> Iterator[str]:
    """Files that are missing, or have another hash than their package's list says."""
    for name, package in sorted(installed.items()):
        if package.files is None:
            yield f"{name} has no list of its files"
            continue
        wrong = [str(file) for file in package.files if not _as_listed(file)]
        if wrong:
            yield f"{name}: {counted(len(wrong), 'file')} not as installed: {', '.join(wrong[:3])}"


def _as_listed(file: PackagePath) -> bool:
    """True also for a file without a hash, as compiled ones and the list itself are."""
    if file.hash is None:
        return True
    try:
        content = Path(str(file.locate())).read_bytes()
        digest = hashlib.new(file.hash.mode, content).digest()
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def pip_check() -> tuple[list[str], list[str]]:
    """What pip says of requirements that are not met, and what could not be checked."""
    done = _run("pip", "check", "--disable-pip-version-check")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode and not lines:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return [], [f"requirements: pip check did not end ({last})"]
    return (lines if done.returncode else []), []


def known_vulnerabilities(lock: Path) -> tuple[list[str], list[str]]:
    """What pip-audit finds, and what could not be checked."""
    if importlib.util.find_spec("pip_audit") is None:
        return [], ["known vulnerabilities: pip-audit is not installed; it also needs the network"]
    done = _run("pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip", "--progress-spinner", "off")
    lines = [line for line in done.stdout.splitlines() if "==" in line or re.search(r"\b(CVE|GHSA|PYSEC)-", line)]
    if done.returncode and not lines:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return [], [f"known vulnerabilities: pip-audit did not end ({last})"]
    return (lines if done.returncode else []), []


def _run(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"not done after {TIMEOUT} seconds")


if __name__ == "__main__":
    end_with(main, __doc__)
