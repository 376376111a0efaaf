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
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


RESULTS: dict[str, str] = {}  # of `how`, by the module of the check: what a graph that is traced can read


def takes(like: Tensor, check: Callable[[], None]) -> bool:
    """Whether tensors of the type and device of `like` are computed by the library, which is built if it is not there
    yet. `check` raises where it computes something else. Not where operations are followed.
    """
    here = like.device.type == "cpu" and like.dtype == torch.float32 and not followed(like)
    return here and how(check) == "compiled"


def followed(x: Tensor) -> bool:
    """Whether torch.compile traces, or a mode or a kind of tensor of PyTorch's sees single operations, as what counts
    FLOPs does: of the library it would see nothing.
    """
    modes = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)
    return torch.compiler.is_compiling() or modes() > 0 or type(x) not in (Tensor, torch.nn.Parameter)


def how(check: Callable[[], None]) -> str:
    """ "compiled", or why not, which is logged once."""
    name = check.__module__
    if name not in RESULTS:
        loaded, reason = _loaded()
        if loaded is not None:
            try:
                with (  # whatever is around the first call
                    torch.inference_mode(False),
                    torch.enable_grad(),
                    torch.device("cpu"),
                    torch.autocast("cpu", enabled=False),
                ):
                    check()
                reason = "compiled"
            except Exception as error:
                reason = _one_line(error)
                log.warning("some layers run slower, because their C++ part is not used: %s", reason)
        RESULTS[name] = reason
    return RESULTS[name]


def library() -> ctypes.CDLL:
    """The functions, once `takes` has said that they work. Raises RuntimeError where there are none."""
    loaded, reason = _loaded()
    if loaded is None:
        raise RuntimeError(f"there is no C++ part: {reason}")
    return loaded


def call(name: str, *arguments: Tensor | int) -> None:
    """A function of pointers to float32, whose tensors must be contiguous, and int64."""
    for x in arguments:
        assert not isinstance(x, Tensor) or (x.dtype == torch.float32 and x.is_contiguous() and x.device.type == "cpu")
    taken = (ctypes.c_void_p(x.data_ptr()) if isinstance(x, Tensor) else ctypes.c_int64(x) for x in arguments)
    getattr(library(), name)(*taken)


def _one_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and why."""
    try:
        with _folder() as folder:
            key = _key()
            whole = (
                file for file in folder.glob(f"layers-{key}-*.so") if file.stem.endswith(_digest(file.read_bytes()))
            )
            return ctypes.CDLL(str(next(whole, None) or _build(folder, key))), ""
    except Exception as error:
        log.warning("layers run at about half the speed, because their C++ part failed: %s", _one_line(error))
        return None, _one_line(error)


def _command() -> list[str]:
    """The compiler with its flags. Raises RuntimeError where there is none."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found")
    return [*shlex.split(compiler), *FLAGS, *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())]


def _key() -> str:
    """Another one for other sources, another compiler or another kind of machine."""
    system = platform.system(), platform.machine(), *platform.libc_ver()
    sources = (file.read_text() for file in sorted(SOURCES.iterdir()))
    return _digest("\n".join([*_command(), *system, *sources]).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _build(folder: Path, key: str) -> Path:
    """Compile the library into a file whose name tells what is in it: one that was cut short would crash the process.
    Raises RuntimeError with what the compiler says.
    """
    sources = [str(source) for source in sorted(SOURCES.glob("*.cpp"))]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "made.so"
        for more in (["-fopenmp"], []):  # a compiler without OpenMP: one thread
            command = [*_command(), *more, *sources, "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
            if not done.returncode:
                return made.replace(folder / f"layers-{key}-{_digest(made.read_bytes())}.so")
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise RuntimeError(next(iter(lines), f"{command[0]} ended with {done.returncode}"))


@contextmanager
def _folder() -> Iterator[Path]:
    """$SYNCHRONY_CACHE or ~/.cache/synchrony where no other user can write there, else one that is removed."""
    folder = Path(os.environ.get("SYNCHRONY_CACHE") or os.path.expanduser("~/.cache/synchrony"))
    own = False
    if folder.is_absolute() and hasattr(os, "getuid"):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            found = folder.stat()
            own = found.st_uid == os.getuid() and not found.st_mode & 0o022 and os.access(folder, os.W_OK)
    if own:
        yield folder
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
