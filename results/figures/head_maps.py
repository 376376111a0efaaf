"""Maps of what heads look at, as PNG and SVG: a row a run, a column a head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from results.figures.style import REPRODUCIBLE, write_figure

MOST_TOKENS = 64  # of a map; more could not be distinguished
MOST_HEADS = 8
TICK = 16  # tokens
WITHOUT = 0.15  # of a row's height, for one without heads


def plot_heads(maps: Sequence[tuple[str, Tensor]], path: Path, title: str) -> list[Path]:
    """`maps`: (label, A (H, N, N)) of each row, the first `MOST_TOKENS` tokens shown; the files written.

    A row without heads says so; one row at least has heads.
    Colour is the square root of the weight, so that a spread of 1/64 is still seen; what is exactly zero stays white.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    columns = min(MOST_HEADS, max(A.shape[0] for _, A in maps))
    shade = colormaps["viridis_r"].with_extremes(bad="white")
    heights = [1.0 if A.shape[0] else WITHOUT for _, A in maps]
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(1.0 + 1.75 * columns, 1.1 + 1.95 * sum(heights)), layout="constrained")
        panels: Any = figure.subplots(len(maps), columns, squeeze=False, height_ratios=heights)
        image: Any = None
        for row, (name, A) in enumerate(maps):
            for head in range(columns):
                panel = panels[row][head]
                if head >= A.shape[0]:
                    panel.set_axis_off()
                    continue
                shown = A[head, :MOST_TOKENS, :MOST_TOKENS].cpu().double()
                values = shown.masked_fill(shown == 0, float("nan")).numpy()
                image = panel.imshow(values, cmap=shade, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
                panel.set_title(f"head {head}", fontsize=9)
                panel.set_xticks(range(0, len(values), TICK), [])
                panel.set_yticks(range(0, len(values), TICK), range(0, len(values), TICK) if head == 0 else [])
                panel.tick_params(labelsize=8)
            if A.shape[0] == 0:
                panels[row][0].text(0, 0.5, f"{name}: no heads", fontsize=9, va="center")
            panels[row][0].set_ylabel(f"{name}\nquery token", fontsize=9)
        lowest = max(row for row, (_, A) in enumerate(maps) if A.shape[0])
        for head in range(columns):
            panels[lowest][head].set_xlabel("key token", fontsize=9)
            panels[lowest][head].set_xticklabels([f"{tick:.0f}" for tick in panels[lowest][head].get_xticks()])
        figure.colorbar(image, ax=panels, shrink=0.8, label="weight of the key (white: exactly 0)")
        figure.suptitle(title, fontsize=11)
        return write_figure(figure, path)
