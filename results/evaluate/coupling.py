"""What a record keeps of trained coupling kernels."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from measures.coupling import Kernel, Order
from training.run_record.trained_run import TrainedRun

DIGITS = 5  # significant ones that a record keeps: within 5e-5 of a number, far below what training determines


def coupling_entry(
    run: TrainedRun, kernels: Sequence[Kernel], order: Order, split: str, windows: int
) -> dict[str, Any]:
    """What the record keeps: the kernels, real and imaginary parts as M x d, and the order."""
    entry: dict[str, Any] = {
        "task": "coupling",
        "split": split,
        "checkpoint": run.checkpoint.name,
        "step": run.step,
        "windows": windows,
    }
    entry["kernels"] = [
        {
            "layer": kernel.layer,
            "mixer": kernel.mixer,
            "coupled_to": kernel.coupled_to,
            "kernel_real": _rounded(kernel.kappa.real.tolist()),
            "kernel_imag": _rounded(kernel.kappa.imag.tolist()),
        }
        for kernel in kernels
    ]
    return entry | {name: _rounded(by_head) for name, by_head in asdict(order).items()}


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, list) else float(f"{value:.{DIGITS}g}")
