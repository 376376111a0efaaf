"""What heads look at, of one trained run: the windows, the table, the entry of the record."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from configs.counted import counted
from configs.errors import UserError
from configs.schema import EvaluationDataConfig
from measures.head_maps import Heads
from results.document import Row
from results.evidence.protocol import trained_on
from results.figures.head_maps import MOST_TOKENS
from training.attention_backend import evaluated_by
from training.run_record.trained_run import TrainedRun

WINDOWS, LONGEST = 8, 512  # of the split's start; their tokens, because maps are N x N
NO_HEADS = "no heads"  # shown in place of the measures of a layer without heads


def first_windows(run: TrainedRun, data: EvaluationDataConfig, split: str = "validation") -> torch.Tensor:
    """Tokens (W, N) from the start of a split, N the run's context, 512 at most. UserError for too short a split."""
    context = min(run.config.data.context, LONGEST)
    content = run.corpus(data).split(split)
    n_windows = min(WINDOWS, len(content) // context)
    if n_windows == 0:
        raise UserError(f"the {split} split has {counted(len(content), 'token')}, less than the context of {context}")
    windows = torch.from_numpy(content.tokens[: n_windows * context].astype(np.int64)).view(n_windows, context)
    return windows.to(next(run.model.parameters()).device)


def maps_title(runs: Sequence[TrainedRun], split: str, layer: int | None = None) -> str:
    """The title of a figure with maps of runs on one corpus; `layer`: where it is all of one."""
    steps = " and ".join(dict.fromkeys(f"{run.step:,}" for run in runs))
    scales = " and ".join(dict.fromkeys(str(run.config.scale.name) for run in runs))
    which = "each layer" if layer is None else f"layer {layer}"
    where = trained_on([run.record for run in runs]) if any(run.step for run in runs) else "not trained"
    return (
        f"Weights that the heads of {which} give, after {steps} training steps\n{runs[0].config.data.name}, {scales} "
        f"parameters, first {MOST_TOKENS} tokens of {split}; {where}"
    )


def head_rows(name: str, layers: Sequence[Heads]) -> list[Row]:
    """A row for each layer: distance between heads, and by head entropy and share of active pairs."""
    return [
        {
            "model": name,
            "layer": str(layer),
            "diversity of heads": NO_HEADS if heads.diversity is None else f"{heads.diversity:.3f}",
            "entropy / log N, by head": " ".join(f"{value:.2f}" for value in heads.entropy) or NO_HEADS,
            "active pairs, by head": " ".join(f"{value:.2f}" for value in heads.active) or NO_HEADS,
        }
        for layer, heads in enumerate(layers)
    ]


def heads_entry(run: TrainedRun, windows: torch.Tensor, layers: Sequence[Heads], split: str) -> dict[str, Any]:
    """What the record keeps of it. `windows` (W, N): what was looked at.

    `ssa`, of a model that has it: the form that gave each layer what it looked at.
    """
    n_windows, context = windows.shape
    entry: dict[str, Any] = {"task": "synchrony", "split": split, "checkpoint": run.checkpoint.name, "step": run.step}
    entry |= evaluated_by(run.model, next(run.model.parameters()).device.type)
    return entry | {"windows": n_windows, "context": context, "heads": [asdict(heads) for heads in layers]}
