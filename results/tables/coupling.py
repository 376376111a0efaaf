"""Trained coupling functions from run records: a table of kernels and order parameters, and the figures.

`python eval.py run=PATH task=coupling` writes into a record the kernel and the order that are read here; of each run
one such evaluation is given.

Legend: M harmonics, d coordinates, kappa (M, d) complex kernel.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from measures.coupling import LOCAL, harmonic, heads_of
from results.document import Document, Row, Table
from results.evidence.coupling import by_model, stored_kernels
from results.evidence.runs import Evidence
from results.evidence.stored import Evaluated, with_evaluation
from results.figures.coupling import plot_coupling

WORDS = ("model", "mixer", "coupled to")  # columns that hold no numbers


def coupling_rows(evaluated: Sequence[Evaluated]) -> list[Row]:
    """A row for each model, layer, mixer, token it couples to and harmonic; seeds of a model share one.

    Statistics of kappa are over the coordinates, of all seeds together (see `measures.coupling`); the order, null
    share and gate of a mixer, by head, are means over seeds and stand in each of its rows. UserError for runs of
    different data, or of one model with other settings than the seed.
    """
    return [
        row
        for model, entries in by_model(evaluated).items()
        for row in kernel_rows(model if len(entries) == 1 else f"{model}, {len(entries)} seeds", list(entries.values()))
    ]


def kernel_rows(label: str, entries: Sequence[dict[str, Any]]) -> list[Row]:
    """The table's rows for entries of one model, one a seed."""
    rows = []
    of_seeds = [stored_kernels(entry) for entry in entries]
    for same in zip(*of_seeds, strict=True):
        kernel = same[0]
        heads = heads_of(kernel.mixer, of_seeds[0], kernel.layer)
        order = {name: _by_head(entries, name, kernel.layer, heads) for name in ("order_parameter", "null", "gate")}
        for m, kappa in enumerate(torch.cat([of_seed.kappa for of_seed in same], dim=-1), start=1):
            measured = harmonic(kappa)
            rows.append(
                {
                    "model": label,
                    "layer": str(kernel.layer),
                    "mixer": kernel.mixer,
                    "coupled to": kernel.coupled_to,
                    "harmonic": str(m),
                    "mean abs κ (rad)": f"{measured.strength:.3f}",
                    "angle (deg)": _degrees(measured.angle),
                    "deviation (deg)": _degrees(measured.deviation),
                    "repulsive": f"{measured.repulsive:.0%}",
                    "order parameter": order["order_parameter"],
                    "null slot": order["null"],
                    "gate": order["gate"],
                }
            )
    return rows


def _by_head(entries: Sequence[dict[str, Any]], name: str, layer: int, heads: slice) -> str:
    seeds = zip(*(entry[name][layer][heads] for entry in entries), strict=True)
    return " ".join(f"{statistics.mean(values):.3f}" for values in seeds) or "-"


def _degrees(angle: float) -> str:
    # No -0: an angle that rounds to zero is one.
    return "-" if math.isnan(angle) else f"{round(math.degrees(angle), 1) + 0.0:.1f}"


def add_coupling(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the harmonics of the coupling kernels by layer and delay, order parameters, and a figure for each model."""
    evaluated, notes = with_evaluation(evidence, "coupling")
    if not evaluated:
        document.tables.append(Table("coupling kernels", [{"model": "all", "kernel": "not run"}], ("model",), notes))
        return
    notes.insert(0, "Statistics over the coordinates of all seeds; angle: circular mean, weighted by |κ|.")
    notes.insert(
        1,
        "Repulsive: share of coordinates with a negative real part. Order parameter, null slot, gate: by head.",
    )
    rows = coupling_rows(evaluated)
    if any(row["mixer"] == LOCAL for row in rows):
        notes.insert(2, "Local coupling starts with random signs, which its mean angle says little about; no heads.")
    document.tables.append(Table("coupling kernels of trained layers", rows, WORDS, notes))
    for path in plot_coupling(evaluated, folder / stem):
        if path.suffix == ".png":
            model = path.stem.removeprefix(f"{stem}-")
            caption = (
                f"{evidence.corpus}, {model}: coupling functions by layer and delay, and the order parameter by layer"
            )
            document.figures.append((path.stem, caption))
