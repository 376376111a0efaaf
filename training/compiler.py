"""`compile=true`: the passes of training, compiled for the one shape that training batches have.

It needs a compiler of the system, which a container may lack.
"""

import contextlib
import time

import torch
from torch import nn

from configs.errors import UserError


def require_compiler(device: str) -> None:
    """UserError where torch cannot compile for a device type. Compiles one line, which takes some seconds.

    To ask torch which compiler it has would use an undocumented call, and would miss a compiler that fails.
    """
    unseen = time.time_ns() % 10**9 / 7  # a constant that no cache of kernels has
    try:
        torch.compile(lambda x: x.sin() + unseen)(torch.zeros(8, device=device))
    except Exception as error:  # the compiler, its headers, its library, a cache that cannot be written
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        needed = "a C++ compiler, such as g++" if device == "cpu" else "Triton and a C compiler, such as gcc"
        raise UserError(
            f"compile=true needs {needed}, and torch cannot compile here ({reason}); leave it out, type compile=false, "
            "or install one"
        ) from None


def compile_passes(model: nn.Module, cuda_graphs: bool = False) -> None:
    """Have a model's passes compiled when they are first made; with `cuda_graphs` (CUDA) replayed as CUDA graphs."""
    model.compile(dynamic=False, **({"mode": "reduce-overhead"} if cuda_graphs else {}))


def as_compiled_before(compiled: bool) -> contextlib.AbstractContextManager[object]:
    """Inside, nothing new is compiled: passes of other shapes than those of training, as those of a validation and its
    last windows are, run as they would without a compiler, and take no minutes.
    """
    return torch.compiler.set_stance("eager_on_recompile") if compiled else contextlib.nullcontext()
