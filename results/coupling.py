"""Trained coupling functions from run records: a table of kernels and order parameters, and figures.

`python eval.py run=PATH task=coupling` writes into a record the kernel and the order that are read here; of each run
one such evaluation is given.

Legend: M harmonics, d coordinates, kappa (layers, M, delays, d) complex kernels of a network.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.errors import UserError
from results.coupling_figure import draw_coupling
from results.evaluations import Evaluated
from results.tables import CIRCUMSTANCES, Row, differing_settings, same_data
from training.coupling import Order, harmonic
from training.trained_run import TrainedRun

DIGITS = 5  # significant ones that a record keeps: within 5e-5 of a number, far below what training determines


def entry(run: TrainedRun, kappa: Tensor, order: Order, split: str, windows: int) -> dict[str, Any]:
    """What the record keeps: the kernel, real and imaginary part as layers x M x delays x d, and the order."""
    made = {"task": "coupling", "split": split, "checkpoint": run.checkpoint.name, "step": run.step, "windows": windows}
    parts = {"kernel_real": kappa.real.tolist(), "kernel_imag": kappa.imag.tolist()}
    return made | {name: _rounded(value) for name, value in (parts | asdict(order)).items()}


def kernel(entry: dict[str, Any]) -> Tensor:
    """kappa (layers, M, delays, d) complex128 of a record's entry."""
    real, imaginary = (torch.tensor(entry[f"kernel_{part}"], dtype=torch.float64) for part in ("real", "imag"))
    return torch.complex(real, imaginary)


def table(evaluated: Sequence[Evaluated]) -> list[Row]:
    """A row for each model, layer, delay and harmonic; seeds of a model share one.

    Statistics of kappa are over the coordinates, of all seeds together (see `training.coupling`); the order, null
    share and gate of a layer, by head, are means over seeds and stand in each of its rows. UserError for runs of
    different data, or of one model with other settings than the seed.
    """
    return [
        row
        for model, entries in _by_model(evaluated).items()
        for row in rows(model if len(entries) == 1 else f"{model}, {len(entries)} seeds", list(entries.values()))
    ]


def rows(label: str, entries: Sequence[dict[str, Any]]) -> list[Row]:
    """The table's rows for entries of one model, one a seed."""
    kappa = torch.cat([kernel(entry) for entry in entries], dim=-1)
    n_layers, n_harmonics, n_delays, _ = kappa.shape
    found = []
    for layer in range(n_layers):
        order = {name: _by_head(entries, name, layer) for name in ("order_parameter", "null", "gate")}
        for delay in range(n_delays):
            for m in range(n_harmonics):
                measured = harmonic(kappa[layer, m, delay])
                found.append(
                    {
                        "model": label,
                        "layer": str(layer),
                        "delay": str(delay),
                        "harmonic": str(m + 1),
                        "mean abs κ (rad)": f"{measured.strength:.3f}",
                        "angle (deg)": _degrees(measured.angle),
                        "deviation (deg)": _degrees(measured.deviation),
                        "repulsive": f"{measured.repulsive:.0%}",
                        "order parameter": order["order_parameter"],
                        "null slot": order["null"],
                        "gate": order["gate"],
                    }
                )
    return found


def plot_coupling(evaluated: Sequence[Evaluated], path: Path) -> list[Path]:
    """Coupling functions and order parameters of each model's first seed, as `path`-MODEL.png and .svg; the files.

    Raises UserError as `table` does.
    """
    files = []
    for model, entries in _by_model(evaluated).items():
        seed = min(entries)
        shown = f"{model}, seed {seed}" + (f" (first of {len(entries)} seeds)" if len(entries) > 1 else "")
        files += draw(model, shown, entries[seed], path.with_name(f"{path.name}-{model}"))
    return files


def draw(model: str, title: str, entry: dict[str, Any], path: Path) -> list[Path]:
    """The figure of one entry as `path`.png and .svg; the files."""
    order = Order(entry["order_parameter"], entry["null"], entry["gate"])
    title = f"{title}, {entry['checkpoint']} (step {entry['step']:,})"
    return draw_coupling(model, title, kernel(entry), order, path)


def _by_model(evaluated: Sequence[Evaluated]) -> dict[str, dict[int, dict[str, Any]]]:
    """model -> seed -> entry."""
    same_data([record for record, _ in evaluated])
    groups: dict[str, dict[int, dict[str, Any]]] = {}
    for record, found in evaluated:
        model = str(record.config["model"]["name"])
        others = [other for other, _ in evaluated if other.config["model"]["name"] == model]
        if settings := differing_settings(others, CIRCUMSTANCES):
            raise UserError(f"the runs of {model} differ in {settings[0]}; give those of one setting, seeds may differ")
        if record.seed in groups.setdefault(model, {}):
            raise UserError(f"two of the runs are of {model} with seed {record.seed}; give one of them")
        groups[model][record.seed] = found
    return groups


def _by_head(entries: Sequence[dict[str, Any]], name: str, layer: int) -> str:
    seeds = zip(*(entry[name][layer] for entry in entries), strict=True)
    return " ".join(f"{statistics.mean(values):.3f}" for values in seeds)


def _degrees(angle: float) -> str:
    # No -0: an angle that rounds to zero is one.
    return "-" if math.isnan(angle) else f"{round(math.degrees(angle), 1) + 0.0:.1f}"


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, list) else float(f"{value:.{DIGITS}g}")
