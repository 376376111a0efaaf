"""Whether torch can compile here: `compile=true` needs a compiler of the system, which a container may lack."""

import time

import torch

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
