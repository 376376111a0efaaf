"""What a record keeps of trained coupling kernels."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from measures.coupling import Order
from training.run_record.trained_run import TrainedRun

DIGITS = 5  # significant ones that a record keeps: within 5e-5 of a number, far below what training determines


def coupling_entry(run: TrainedRun, kappa: Tensor, order: Order, split: str, windows: int) -> dict[str, Any]:
    """What the record keeps: the kernel, real and imaginary part as layers x M x delays x d, and the order."""
    entry = {
        "task": "coupling",
        "split": split,
        "checkpoint": run.checkpoint.name,
        "step": run.step,
        "windows": windows,
    }
    parts = {"kernel_real": kappa.real.tolist(), "kernel_imag": kappa.imag.tolist()}
    return entry | {name: _rounded(value) for name, value in (parts | asdict(order)).items()}


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, list) else float(f"{value:.{DIGITS}g}")
