"""Heads of several runs side by side: `python -m results.heads RUN... [--checkpoint start] [--figure FILE]`.

Prints, for each layer, how much the heads' maps differ and how widely each looks; the figure shows maps of one layer.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.entry import fail
from configs.errors import UserError
from configs.schema import EvaluationDataConfig
from results.head_figure import plot_heads
from results.tables import Row, markdown, same_data
from training.atomic import make_parent, write_atomically
from training.head_maps import Heads, head_maps, measure
from training.synchronization import evaluated_by
from training.trained_run import TrainedRun, open_run

WINDOWS, LONGEST = 8, 512  # of the split's start; their bytes, for maps are N x N


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments`: those of the command line. UserError for a run that has no maps."""
    parser = argparse.ArgumentParser(prog="python -m results.heads", description="Heads of runs side by side.")
    parser.add_argument("runs", nargs="+", help="run directories")
    parser.add_argument("--checkpoint", default="last", help="last, start (step 0), or a file of the run")
    parser.add_argument("--data-path", help="where the corpus is now, if it was moved")
    parser.add_argument("--layer", type=int, default=0, help="layer that the figure shows")
    parser.add_argument("--figure", type=Path, help="draw maps into FILE.png and FILE.svg")
    parser.add_argument("--output", type=Path, help="write the numbers, and which runs they are of, to this JSON file")
    asked = parser.parse_args(arguments)
    opened = [open_run(path, asked.checkpoint) for path in asked.runs]
    data = EvaluationDataConfig(path=asked.data_path)
    windows = [first_windows(run, data) for run in opened]
    maps = [head_maps(run.model, taken) for run, taken in zip(opened, windows, strict=True)]
    same_data([run.record for run in opened])
    models = [str(run.record.config["model"]["name"]) for run in opened]
    names = [m if models.count(m) == 1 else f"{m} ({run.folder.name})" for m, run in zip(models, opened, strict=True)]
    rows = [row for name, layers in zip(names, maps, strict=True) for row in table(name, [measure(A) for A in layers])]
    print(markdown(rows, left=("model",)))
    if asked.output is not None:
        made = [
            {"config": run.record.config, "data": asdict(run.record.data), "git": asdict(run.record.git)}
            | entry(run, taken, [measure(A) for A in layers], "validation")
            for run, taken, layers in zip(opened, windows, maps, strict=True)
        ]
        make_parent(asked.output)
        write_atomically(asked.output, (json.dumps(made, indent=1) + "\n").encode())
    if asked.figure is not None:
        for name, layers in zip(names, maps, strict=True):
            if not 0 <= asked.layer < len(layers):
                raise UserError(f"--layer {asked.layer}: {name} has layers 0 to {len(layers) - 1}")
        shown = [(name, layers[asked.layer][0]) for name, layers in zip(names, maps, strict=True)]
        print("\n" + ", ".join(str(file) for file in plot_heads(shown, asked.figure)))


def first_windows(run: TrainedRun, data: EvaluationDataConfig, split: str = "validation") -> torch.Tensor:
    """Tokens (W, N) from the start of a split, N the run's context, 512 at most. UserError for too short a split."""
    context = min(run.config.data.context, LONGEST)
    content = run.corpus(data).split(split)
    n_windows = min(WINDOWS, len(content) // context)
    if n_windows == 0:
        raise UserError(f"the {split} split has {len(content):,} bytes, less than the context of {context}")
    windows = torch.from_numpy(content[: n_windows * context].astype(np.int64)).view(n_windows, context)
    return windows.to(next(run.model.parameters()).device)


def table(name: str, layers: Sequence[Heads]) -> list[Row]:
    """A row for each layer: distance between heads, and by head entropy and share of active pairs."""
    return [
        {
            "model": name,
            "layer": str(layer),
            "diversity of heads": f"{heads.diversity:.3f}",
            "entropy / log N, by head": " ".join(f"{value:.2f}" for value in heads.entropy),
            "active pairs, by head": " ".join(f"{value:.2f}" for value in heads.active),
        }
        for layer, heads in enumerate(layers)
    ]


def entry(run: TrainedRun, windows: torch.Tensor, layers: Sequence[Heads], split: str) -> dict[str, Any]:
    """What the record keeps of it. `windows` (W, N): what was looked at.

    `ssa`, of a model that has it: the form that gave each layer what it looked at.
    """
    taken, context = windows.shape
    made: dict[str, Any] = {"task": "synchrony", "split": split, "checkpoint": run.checkpoint.name, "step": run.step}
    made |= evaluated_by(run.model, next(run.model.parameters()).device.type)
    return made | {"windows": taken, "context": context, "heads": [asdict(heads) for heads in layers]}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        fail(error)
