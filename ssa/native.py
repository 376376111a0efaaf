"""The operator and the order parameter for float32 on a CPU: the C++ of ssa/cpp, called without copies.

The compiler that is there builds it once a machine, into the user's cache, in about three seconds. Where none works, or
where it computes something else, one line says so and `ssa.chunked` goes on. It is chosen by instruction set, as
PyTorch's own kernels are, so a home directory may be shared by different machines. Our choice.
"""

import ctypes
import functools
import hashlib
import logging
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
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


def _structure(name: str, **kinds: str) -> type[ctypes.Structure]:
    """A struct of ssa/cpp: names by the type of C."""
    types = {"int64": ctypes.c_int64, "view": _View, "pointer": ctypes.c_void_p, "float": ctypes.c_float}
    fields = [(field, types[kind]) for kind, names in kinds.items() for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


class _View(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        *((stride, ctypes.c_int64) for stride in ("of_batch", "of_head", "of_token")),
    ]


_Operands = _structure(
    "_Operands",
    int64="batch heads queries keys frequencies values causal same threads",
    view="q k v out grad grad_q grad_k grad_v",
    pointer="mask inverse_rho cos_theta middle Z grad_rho grad_cos scratch",
    float="floor cap",
)
_Phases = _structure(
    "_Phases",
    int64="batch heads tokens width causal threads",
    view="phi grad_phi",
    pointer="real grad r scratch",
    float="tiny",
)


def takes(like: Tensor) -> bool:
    """Whether tensors of the type and device of `like` are computed here. Builds the library if it is not there yet."""
    # What torch.compile traces it compiles itself, or it is called from a node of the graph.
    here = like.device.type == "cpu" and like.dtype == torch.float32 and not torch.compiler.is_compiling()
    return here and how() == "compiled"


@functools.cache
def how() -> str:
    """ "compiled", or why not, which is logged once."""
    try:
        _check()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("SSA runs at about half the speed, because its C++ part failed: %s", reason)
        return reason
    return "compiled"


def attend(
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    floor: float,
) -> tuple[Tensor, Tensor]:
    """out (B, H, N, W), laid out as (B, N, H, W), and Z (B, H, N), as `ssa.chunked.attend` gives them."""
    B, H, N, _ = q.shape
    out, Z = v.new_empty(B, N, H, v.shape[3]).transpose(1, 2), q.new_empty(B, H, N)
    given = {"q": q, "k": q if k is None else k, "v": v, "out": out, "Z": Z, "mask": key_mask}
    given |= {"inverse_rho": inverse_rho, "cos_theta": cos_theta}
    _call("attend", _Operands, given, **_sizes(q, k, v, causal), floor=floor)
    return out, Z


def gradients_of_attend(
    grad: Tensor,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    inverse_rho: Tensor,
    cos_theta: Tensor,
    out: Tensor,
    Z: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    cap: float | None,
    middle: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """As `ssa.chunked.gradients_of_attend`; `middle` (B, H, 1, E) is a point amid the keys."""
    given = {"q": q, "k": q if k is None else k, "v": v, "out": out, "grad": grad, "Z": Z, "mask": key_mask}
    given |= {"inverse_rho": inverse_rho, "cos_theta": cos_theta, "middle": middle}
    grad_q, grad_k, grad_v = torch.empty_like(q), None if k is None else torch.empty_like(k), torch.empty_like(v)
    grad_rho, grad_cos = inverse_rho.new_empty(inverse_rho.shape), cos_theta.new_empty(cos_theta.shape)
    given |= {"grad_q": grad_q, "grad_k": grad_q if grad_k is None else grad_k, "grad_v": grad_v}
    given |= {"grad_rho": grad_rho, "grad_cos": grad_cos}
    _call("gradients", _Operands, given, **_sizes(q, k, v, causal), cap=math.inf if cap is None else cap)
    return grad_q, grad_k, grad_v, grad_rho, grad_cos


def order_parameter(phi: Tensor, real: Tensor, causal: bool, tiny: float) -> Tensor:
    """r (B, H, N or 1), not yet held above 0, of phases (B, H, N, d) and of which tokens count, (B, N)."""
    r = phi.new_empty(*phi.shape[:2], phi.shape[2] if causal else 1)
    _call("order", _Phases, {"phi": phi, "real": real, "r": r}, **_extent(phi, causal), tiny=tiny)
    return r


def gradient_of_order_parameter(grad: Tensor, phi: Tensor, real: Tensor, causal: bool, tiny: float) -> Tensor:
    """That of phi, from that of r."""
    found = torch.empty_like(phi)
    given = {"phi": phi, "real": real, "grad": grad, "grad_phi": found}
    _call("order_gradient", _Phases, given, **_extent(phi, causal), tiny=tiny)
    return found


def _sizes(q: Tensor, k: Tensor | None, v: Tensor, causal: bool) -> dict[str, int]:
    sizes = dict(zip(("batch", "heads", "queries", "frequencies"), q.shape, strict=True))
    return sizes | {"keys": v.shape[2], "values": v.shape[3], "causal": causal, "same": k is None}


def _extent(phi: Tensor, causal: bool) -> dict[str, int]:
    return dict(zip(("batch", "heads", "tokens", "width"), phi.shape, strict=True)) | {"causal": causal}


def _call(name: str, structure: type[ctypes.Structure], tensors: Mapping[str, Tensor | None], **others: float) -> None:
    """A function of the library, with the struct that it takes."""
    library, threads = _loaded(), torch.get_num_threads()
    views = {field[0] for field in structure._fields_ if field[1] is _View}
    kept, fields = [], {}
    for field, x in tensors.items():
        if x is None:
            continue
        # What is written is laid out as it must be, so only what is read may be copied.
        x = x if field in views and x.stride(-1) == 1 else x.contiguous()
        kept.append(x)
        fields[field] = _View(x.data_ptr(), *x.stride()[:3]) if field in views else x.data_ptr()
    operands = structure(**fields, **others, threads=threads)
    scratch = torch.empty(threads * getattr(library, f"{name}_scratch")(ctypes.byref(operands)))
    operands.scratch = scratch.data_ptr()
    getattr(library, name)(ctypes.byref(operands))


@functools.cache
def _loaded() -> ctypes.CDLL:
    with _folder() as folder:
        library = ctypes.CDLL(str(_built(folder)))
    for name in ("attend", "gradients", "order", "order_gradient"):
        getattr(library, name).restype = None
        getattr(library, f"{name}_scratch").restype = ctypes.c_int64
    return library


def _built(folder: Path) -> Path:
    """The library's file in a folder, made if it is not there."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found")
    sources = sorted(SOURCES.iterdir())
    flags = *FLAGS, *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())
    key = hashlib.sha256("\n".join([compiler, *flags, *(file.read_text() for file in sources)]).encode())
    file = folder / f"ssa-{key.hexdigest()[:16]}.so"
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


def _check() -> None:
    """RuntimeError, or what building raises, unless a small case is as the plain operations have it."""
    from ssa import order  # both need this module
    from ssa.dense import synchronize_dense

    g = torch.Generator().manual_seed(0)
    q, k = (0.2 * torch.randn(1, 2, 70, 5, generator=g) for _ in range(2))
    v, weights = (torch.randn(1, 2, 70, 3, generator=g) for _ in range(2))
    inverse_rho, cos_theta = 0.2 + torch.rand(1, 2, 70, generator=g), torch.tensor([[0.1, 0.5]])
    phi, ones = 3 * torch.randn(1, 2, 70, 5, generator=g), torch.ones(1, 70)
    inputs = [x.requires_grad_() for x in (q, k, v, inverse_rho, cos_theta, phi)]
    with torch.enable_grad():
        expected = synchronize_dense(*(x[0] for x in inputs[:5]), causal=True, floor=0.1)
        r = order.plain(phi, ones[:, None, :, None], True)
        theirs = expected, r, *torch.autograd.grad((expected * weights[0]).sum() + r.square().sum(), inputs)
    with torch.no_grad():
        out, Z = attend(q, k, v, inverse_rho, cos_theta, None, True, 0.1)
        middle = torch.zeros(1, 2, 1, 5)
        found = gradients_of_attend(weights, q, k, v, inverse_rho, cos_theta, out, Z, None, True, 5.0, middle)
        ours = order_parameter(phi, ones, True, order.TINY)
        of_phi = gradient_of_order_parameter(2 * ours, phi, ones, True, order.TINY)
        for a, b in zip((out[0], ours, *found, of_phi), theirs, strict=True):
            if a is None or not torch.allclose(a, b, atol=1e-4, rtol=1e-4):
                raise RuntimeError("what it computes is not what it should be")
