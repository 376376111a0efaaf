"""What the run runs on: device, versions, git; and the settings that make it repeatable."""

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

import lightning as L
import torch

from configs.errors import UserError
from configs.schema import RunConfig
from training.processes.launcher import Place
from training.run_record.record import Device, Git, without_absolute_paths

SOURCES = Path(__file__).resolve().parents[2]
PACKAGES_THAT_TRAIN = ("configs", "data", "blocks", "baseline", "fsn", "ssa", "measures", "training")
PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "numpy")


def device_kind(config: RunConfig, place: Place) -> str:
    """cpu or cuda. UserError when CUDA devices are asked for that are not there."""
    devices = place.local_size  # on this machine
    wanted, there = config.trainer.accelerator, torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cuda":
        require_cuda("trainer.accelerator", "trainer.accelerator=cpu")
    kind = "cpu" if wanted == "cpu" or not there else "cuda"
    if kind == "cpu" and config.trainer.cuda_graphs:
        raise UserError("trainer.cuda_graphs=true is for CUDA, and this run is on a CPU; leave it out")
    if kind == "cuda" and devices > there:
        fewer = f"have {place.launcher} start {there}" if place.external else f"type trainer.devices={there}"
        raise UserError(
            f"trainer.devices={config.trainer.devices} puts {devices} processes here, where there are {there} CUDA "
            f"device(s): {fewer}, or type trainer.accelerator=cpu"
        )
    return kind


def require_cuda(key: str, instead: str) -> None:
    """UserError when CUDA is asked for, by `key`=cuda, and absent."""
    if not torch.cuda.is_available():
        raise UserError(f"{key}=cuda, but this machine has no CUDA device that torch sees; type {instead}")


def prepare(config: RunConfig, kind: str) -> None:
    """Seed every generator; on a CPU refuse whatever is not deterministic, on CUDA use the tensor cores."""
    L.seed_everything(config.seed, workers=True, verbose=False)
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
        if config.trainer.devices > 1:
            os.environ["OMP_NUM_THREADS"] = str(config.trainer.threads)  # else Lightning divides the cores
    torch.use_deterministic_algorithms(kind == "cpu")
    if kind == "cpu":
        # Filling memory before it is written would cost time and change nothing.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # torch makes it at import
    else:
        torch.set_float32_matmul_precision("high")
        torch.cuda.reset_peak_memory_stats()


def device(config: RunConfig, kind: str) -> Device:
    """The device a run trains on, as its record names it."""
    name = torch.cuda.get_device_name() if kind == "cuda" else cpu_name()
    return Device(kind, name, torch.get_num_threads(), config.trainer.devices)


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
    """The command line, to be typed again; of absolute paths only the names."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of python -m, whose argv[0] is a file deep inside
    program = [Path(sys.argv[0]).name]
    # `python -m cProfile train.py` runs a module too, but another file than argv[0] names.
    if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == Path(sys.argv[0]).resolve():
        program = ["-m", spec.name.removesuffix(".__main__")]
    return typed or shlex.join(["python", *program, *without_absolute_paths(sys.argv[1:])])


def source_sha256() -> str:
    """SHA-256 over the Python files that train: two processes with the same one run the same code."""
    digest = hashlib.sha256()
    for package in PACKAGES_THAT_TRAIN:
        for path in sorted((SOURCES / package).rglob("*.py")):
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
