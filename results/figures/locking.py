"""The locked fraction of heads over training, as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.evidence.locking import LOCKED, locked_rows
from results.evidence.runs import Run
from results.figures.style import REPRODUCIBLE, write_figure

LEAST = 1e-4  # that a logarithmic axis shows
# By the number of the head: colours of Okabe and Ito, for the colour-blind, and lines, for grey print.
HEADS: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#56B4E9", "-"),
    ("#E69F00", "--"),
)


def plot_locking(runs: Sequence[Run], path: Path, title: str) -> list[Path]:
    """A panel for each layer, a line for each head of each run; the files written: `path`.png and .svg."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    n_layers = max(len(row[LOCKED]) for run in runs for row in locked_rows(run))
    n_heads = max(len(heads) for run in runs for row in locked_rows(run) for heads in row[LOCKED])
    with rc_context(REPRODUCIBLE | {"text.parse_math": True}):  # powers of ten at the axis
        figure = Figure(figsize=(max(5.0, 2.9 * n_layers), 3.6), layout="constrained")
        panels: Any = figure.subplots(1, n_layers, sharey=True, squeeze=False)[0]
        for layer, panel in enumerate(panels):
            for run in runs:
                rows = [row for row in locked_rows(run) if layer < len(row[LOCKED])]
                for head in range(len(rows[0][LOCKED][layer]) if rows else 0):
                    color, line = HEADS[head % len(HEADS)]
                    values = [max(row[LOCKED][layer][head], LEAST) for row in rows]
                    panel.plot(
                        [row["tokens"] / 1e6 for row in rows], values, color=color, linestyle=line, linewidth=1.3
                    )
            panel.set_yscale("log")
            panel.set_title(f"layer {layer}", fontsize=10)
            panel.set_xlabel("training tokens (millions)")
            panel.grid(alpha=0.25, linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("locked fraction of pairs")
        handles = [
            Line2D([], [], color=HEADS[k % len(HEADS)][0], linestyle=HEADS[k % len(HEADS)][1], label=f"head {k}")
            for k in range(n_heads)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(n_heads, 6), frameon=False, fontsize=9)
        figure.suptitle(title, fontsize=11, parse_math=False)
        return write_figure(figure, path)
