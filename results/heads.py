"""Heads of several runs side by side: `python -m results.heads RUN... [--checkpoint start] [--figure FILE]`.

Prints, for each layer, how much the heads' maps differ and how widely each looks; the figure shows maps of one layer.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from configs.command import end_with
from configs.entry import refuse
from configs.errors import UserError
from configs.schema import EvaluationDataConfig
from data.atomic_write import write_atomically
from measures.head_maps import head_maps, measure_heads
from results.document import markdown
from results.evaluate.heads import first_windows, head_rows, heads_entry, maps_title
from results.evidence.settings import same_data
from results.figures.head_maps import plot_heads
from training.run_record.trained_run import open_run


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments`: those of the command line. UserError for a run that has no maps."""
    parser = argparse.ArgumentParser(prog="python -m results.heads", description="Heads of runs side by side.")
    parser.add_argument("runs", nargs="+", help="run directories")
    parser.add_argument("--checkpoint", default="last", help="last, start (step 0), or a file of the run")
    parser.add_argument("--data-path", help="where the corpus is now, if it was moved")
    parser.add_argument("--layer", type=int, default=0, help="layer that the figure shows")
    parser.add_argument("--figure", type=Path, help="draw maps into FILE.png and FILE.svg")
    parser.add_argument("--output", type=Path, help="write the numbers, and which runs they are of, to this JSON file")
    parser.error = refuse  # type: ignore[method-assign]  # one line, not its usage too
    asked = parser.parse_args(arguments)
    opened = [open_run(path, asked.checkpoint) for path in asked.runs]
    data = EvaluationDataConfig(path=asked.data_path)
    windows = [first_windows(run, data) for run in opened]
    maps = [head_maps(run.model, tokens) for run, tokens in zip(opened, windows, strict=True)]
    same_data([run.record for run in opened])
    models = [str(run.record.config["model"]["name"]) for run in opened]
    names = [m if models.count(m) == 1 else f"{m} ({run.folder.name})" for m, run in zip(models, opened, strict=True)]
    rows = [
        row
        for name, layers in zip(names, maps, strict=True)
        for row in head_rows(name, [measure_heads(A) for A in layers])
    ]
    print(markdown(rows, left=("model",)))
    if asked.output is not None:
        entries = [
            {"config": run.record.config, "data": asdict(run.record.data), "git": asdict(run.record.git)}
            | heads_entry(run, tokens, [measure_heads(A) for A in layers], "validation")
            for run, tokens, layers in zip(opened, windows, maps, strict=True)
        ]
        write_atomically(asked.output, (json.dumps(entries, indent=1) + "\n").encode())
    if asked.figure is not None:
        for name, layers in zip(names, maps, strict=True):
            if not 0 <= asked.layer < len(layers):
                raise UserError(f"--layer {asked.layer}: {name} has layers 0 to {len(layers) - 1}")
        shown = [(name, layers[asked.layer][0]) for name, layers in zip(names, maps, strict=True)]
        if not any(A.shape[0] for _, A in shown):
            raise UserError(f"--layer {asked.layer}: none of the runs has heads there")
        title = maps_title(opened, "validation", asked.layer)
        print("\n" + ", ".join(str(file) for file in plot_heads(shown, asked.figure, title)))


if __name__ == "__main__":
    end_with(main)
