"""What the run runs on: processor, versions, git, sources; and its command line."""

import hashlib
import importlib.metadata
import os
import platform
import resource
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from training.run_record.record import Git, without_absolute_paths

SOURCES = Path(__file__).resolve().parents[2]
PACKAGES_THAT_TRAIN = ("configs", "data", "synchrony_blocks", "baseline", "fsn", "ssa", "measures", "training")
PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "numpy")


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Python's version, that of each package that can change a result, and that of the sources that run."""
    by_package = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_package[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    # Not what is installed, which may be another copy, under another name.
    project = tomllib.loads((SOURCES / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return by_package | {"synchrony": project["version"]}


def git() -> Git:
    """The commit of this source tree and whether it was changed; empty where there is no git.

    Whatever git is told by the environment (GIT_DIR, say, inside a hook) is of another tree.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(SOURCES), *arguments]
        done = subprocess.run(command, capture_output=True, check=True, timeout=10, env=environment)
        return done.stdout.decode(errors="replace").strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != SOURCES:
            return Git()  # a copy without its history, in a repository of something else
        return Git(ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return Git()


typed: str | None = None  # the command of the sweep that started this process, if one did


def command() -> str:
    """The command line, to be typed again in the checkout. A record has no absolute path: it keeps the last part of
    one, and a comment says so. Another comment says of data.path that it is not a path in the checkout.
    """
    if typed is not None:
        return typed
    arguments = without_absolute_paths(sys.argv[1:])
    line = shlex.join(["python", *_started(), *arguments])
    shortened = [text for text, whole in zip(arguments, sys.argv[1:], strict=True) if text != whole]
    marks = [f"of the path only the last part: {text}" for text in shortened]
    here = Path.cwd()
    if here != SOURCES and any(text.startswith("data.path=") and text not in shortened for text in arguments):
        marks.append("data.path is relative to the folder that this was typed in, which was not the checkout")
    return line + (f"  # {'; '.join(marks)}" if marks else "")


def _started() -> list[str]:
    """What Python was given to run: a file of the checkout, or with -m a module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    # `python -m cProfile train.py` runs a module too, but another file than argv[0] names.
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != Path(sys.argv[0]).resolve():
        return [Path(sys.argv[0]).name]
    return ["-m", spec.name.removesuffix(".__main__")]


def source_sha256() -> str:
    """SHA-256 over the Python files that train: two processes with the same one run the same code."""
    digest = hashlib.sha256()
    for package in PACKAGES_THAT_TRAIN:
        for path in sorted(filter(Path.is_file, (SOURCES / package).rglob("*.py"))):  # editors leave dangling links
            digest.update(f"{path.relative_to(SOURCES).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def peak_resident_bytes() -> int:
    """The most physical memory that this process has held."""
    try:
        # Not ru_maxrss, which a Linux process inherits from the one that started it.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
