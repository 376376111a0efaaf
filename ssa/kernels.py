"""Who computes the chunks of the operator: PyTorch (`ssa.chunked`) or, on CUDA, Triton (`ssa.triton_kernels`).

Triton comes with CUDA builds of PyTorch alone. What it compiles is compared with PyTorch's on the device before its
first use.
"""

import functools
import importlib.util
import logging
import os

import torch
from torch import Tensor

from ssa.chunked import PYTORCH, Form
from ssa.rounding import as_multiplied, takes_tf32

# Constants, so that torch.compile can read them.
INSTALLED = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # on a CPU, for tests; Triton reads it when it is imported
WIDEST = 256  # frequencies or values: a block of wider ones does not fit a multiprocessor's memory
TRITON, TRITON_OR_CHUNKS = "Triton", "triton, or chunked where that fails"
FAILED: dict[str, str] = {}  # what failed in this process, and why: it is not tried again
log = logging.getLogger(__name__)


def not_triton(device: str, top_k: int | None, width: int) -> str:
    """Why Triton cannot run on a device type, or "". `width`: of the frequencies or values."""
    reason = f"with a width over {WIDEST}" if width > WIDEST else ""
    reason = reason if top_k is None else "with top_k"
    reason = reason if INSTALLED else "without Triton, which is not installed"
    reason = reason if device == "cuda" or INTERPRETED else "on a CPU"
    return reason and f"is for CUDA and cannot run {reason}"


def block(E: int, W: int) -> int:
    """Queries, and keys, a block of Triton's: as many as its compiler holds in registers (our choice)."""
    return 32 if max(E, W) <= 128 else 16


def form(name: str, q: Tensor, k: Tensor | None, v: Tensor, key_mask: Tensor | None, causal: bool) -> Form:
    """PyTorch's for "chunked", Triton's for "triton", which raises RuntimeError where that gives something else; for
    `TRITON_OR_CHUNKS` Triton's unless it fails, once a process.
    """
    if name == "chunked" or (name == TRITON_OR_CHUNKS and TRITON in FAILED):
        return PYTORCH
    widths, flags = (q.shape[2], v.shape[2]), (causal, k is None, key_mask is not None)
    try:
        return _triton(*widths, *flags, torch.promote_types(q.dtype, torch.float32), q.device, takes_tf32())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if name != TRITON_OR_CHUNKS:
            raise
        give_up(TRITON, error)
        return PYTORCH


def give_up(what: str, error: Exception) -> None:
    """Take `what`, which failed, no more in this process; logged once."""
    if what not in FAILED:
        FAILED[what] = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("SSA goes on without %s, which failed: %s", what, FAILED[what])


@functools.cache
def _triton(
    E: int, W: int, causal: bool, same: bool, masked: bool, dtype: torch.dtype, device: torch.device, tf32: bool
) -> Form:
    """Triton's form, after it gave what PyTorch's gives. RuntimeError where it does not, any error where it fails."""
    from ssa import triton_kernels

    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise RuntimeError("this GPU has no products in TF32")
    form = Form(triton_kernels.attend, triton_kernels.gradients_of_attend)
    g, n = torch.Generator("cpu").manual_seed(0), 2 * block(E, W) + 5

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype, device="cpu").to(device)

    # Lengths of their own, so that some pairs lock and some do not.
    q, k = (as_multiplied(random(2, n, E) * random(2, n, 1) / E**0.5) for _ in range(2))
    v, grad, inverse_rho, cos_theta = random(2, n, W), random(2, n, W), 0.1 + random(2, n).abs(), q.new_full((2,), 0.3)
    inputs, found = (q, None if same else k, v, inverse_rho, cos_theta), []
    first = [x[:, : block(E, W)] if causal and x is not None else None for x in inputs[:2]]
    mask = (torch.arange(n, device=device) % 7 != 3).expand(2, n) if masked else None
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for each in (form, PYTORCH):
            out, Z = each.attend(*inputs, *first, mask, causal, 5.0, None, 0.1, block(E, W))
            found.append((out, *each.gradients(grad, *inputs, out, Z, mask, causal, 5.0, None, block(E, W))))
    for ours, theirs in zip(*found, strict=True):
        if ours is not None and not (ours - theirs).abs().max() <= (0.05 if tf32 else 1e-3) * theirs.abs().max():
            raise RuntimeError("it computes something else than PyTorch")
    return form
