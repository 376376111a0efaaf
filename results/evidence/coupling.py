"""Trained coupling kernels from run records."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from configs.errors import UserError
from fsn.coupling import ATTENDED, SUCCESSOR
from measures.coupling import ATTENTION, Kernel
from results.evidence.settings import CIRCUMSTANCES, differing_settings, same_data
from results.evidence.stored import Evaluated


def stored_kernels(entry: dict[str, Any]) -> list[Kernel]:
    """The kernels of a record's entry, kappa complex128, in the order of layers."""
    if "kernels" in entry:
        return [Kernel(k["layer"], k["mixer"], k["coupled_to"], _complex(k)) for k in entry["kernels"]]
    # An older entry: layers x M x delays x d, all of attention.
    return [
        Kernel(layer, ATTENTION, partner, kappa)
        for layer, of_layer in enumerate(_complex(entry))
        for partner, kappa in zip((ATTENDED, SUCCESSOR), of_layer.unbind(1), strict=False)
    ]


def _complex(kept: dict[str, Any]) -> Tensor:
    real, imaginary = (torch.tensor(kept[f"kernel_{part}"], dtype=torch.float64) for part in ("real", "imag"))
    return torch.complex(real, imaginary)


def by_model(evaluated: Sequence[Evaluated]) -> dict[str, dict[int, dict[str, Any]]]:
    """model -> seed -> entry. UserError for different data, settings other than the seed, or two runs of one seed."""
    same_data([record for record, _ in evaluated])
    groups: dict[str, dict[int, dict[str, Any]]] = {}
    for record, entry in evaluated:
        model = str(record.config["model"]["name"])
        others = [other for other, _ in evaluated if other.config["model"]["name"] == model]
        if settings := differing_settings(others, CIRCUMSTANCES):
            raise UserError(f"the runs of {model} differ in {settings[0]}; give those of one setting, seeds may differ")
        if record.seed in groups.setdefault(model, {}):
            raise UserError(f"two of the runs are of {model} with seed {record.seed}; give one of them")
        groups[model][record.seed] = entry
    return groups
