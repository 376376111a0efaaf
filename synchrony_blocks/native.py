"""C++ for float32 on a CPU, for what takes PyTorch many passes over memory: the functions of synchrony_blocks/cpp.

The compiler that is there builds them once a machine, into the user's cache, in about three seconds. Where none works,
or where it computes something else, one line says so and plain operations go on. Flags are chosen by instruction set,
as PyTorch's own kernels are, so different machines may share a home directory. Our choice.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

SOURCES = Path(__file__).parent / "cpp"
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
log = logging.getLogger(__name__)


def takes(like: Tensor, check: Callable[[], None]) -> bool:
    """Whether tensors of the type and device of `like` are computed by the library, which is built if it is not there
    yet. `check` raises where it computes something else.
    """
    # What torch.compile traces it compiles itself, or the library is called from a node of its graph.
    here = like.device.type == "cpu" and like.dtype == torch.float32 and not torch.compiler.is_compiling()
    return here and how(check) == "compiled"


@functools.cache
def how(check: Callable[[], None]) -> str:
    """ "compiled", or why not, which is logged once."""
    library, reason = _loaded()
    if library is not None:
        try:
            check()
            return "compiled"
        except Exception as error:
            reason = _one_line(error)
            log.warning("some layers run slower, because their C++ part is not used: %s", reason)
    return reason


def library() -> ctypes.CDLL:
    """The functions, once `takes` has said that they work. Raises RuntimeError where there are none."""
    loaded, reason = _loaded()
    if loaded is None:
        raise RuntimeError(f"there is no C++ part: {reason}")
    return loaded


def call(name: str, *arguments: Tensor | int) -> None:
    """A function of pointers, of which tensors must be contiguous, and int64."""
    taken = (ctypes.c_void_p(x.data_ptr()) if isinstance(x, Tensor) else ctypes.c_int64(x) for x in arguments)
    getattr(library(), name)(*taken)


def _one_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and why."""
    try:
        with _folder() as folder:
            return ctypes.CDLL(str(_built(folder))), ""
    except Exception as error:
        log.warning("layers run at about half the speed, because their C++ part failed: %s", _one_line(error))
        return None, _one_line(error)


def _built(folder: Path) -> Path:
    """The library's file in a folder, made if it is not there."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found")
    sources = sorted(SOURCES.iterdir())
    flags = *FLAGS, *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())
    key = hashlib.sha256("\n".join([compiler, *flags, *(file.read_text() for file in sources)]).encode())
    file = folder / f"layers-{key.hexdigest()[:16]}.so"
    if not file.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / file.name
            command = [compiler, *flags, *(str(each) for each in sources if each.suffix == ".cpp"), "-o", str(made)]
            for more in (["-fopenmp"], []):  # a compiler without OpenMP: one thread
                done = subprocess.run([*command, *more], capture_output=True, text=True)
                if not done.returncode:
                    break
            else:
                lines = [line for line in done.stderr.splitlines() if "error" in line]
                raise RuntimeError(next(iter(lines), f"{compiler} ended with {done.returncode}"))
            made.replace(file)
    return file


@contextmanager
def _folder() -> Iterator[Path]:
    """$SYNCHRONY_CACHE or ~/.cache/synchrony where it is this user's own, else one that is removed."""
    folder = Path(os.environ.get("SYNCHRONY_CACHE") or os.path.expanduser("~/.cache/synchrony"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK)
    except OSError:
        own = False
    if own:
        yield folder
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
