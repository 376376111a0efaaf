"""Loss by copy depth as PNG and SVG: of each model, less the transformer's, and that by distance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.evidence.copy_depth import COPIES, Bins, by_depth, by_distance, start
from results.evidence.protocol import described
from results.evidence.settings import TRANSFORMER, positions_of
from results.evidence.stored import Evaluated
from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

LEAST = 0.005  # share of the copied bytes that a distance needs to be drawn: a wild interval would set the scale


def plot_copy_depth(evaluated: Sequence[Evaluated], path: Path) -> list[Path]:
    """Three panels: mean loss by depth (share of the bytes as bars), its difference to the transformer by depth, and by
    distance of the match where the depth is 4 or more; the files written: `path`.png and .svg.

    Bands are 95 % intervals (`Bins.difference`). UserError as of `results.evidence.copy_depth.by_depth`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    bins, classes = by_depth(evaluated), by_distance(evaluated)
    record, entry = evaluated[0]
    unit = positions_of(record)
    far = Bins.added([bins_of_class for depths, bins_of_class in classes.items() if start(depths) >= COPIES])
    far = far.chosen([k for k in range(len(far.labels)) if far.share(k) >= LEAST])
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(10.8, 4.6), layout=ConstrainedLayoutEngine(w_pad=0.1))
        loss, by_depth_, by_distance_ = figure.subplots(1, 3)
        _losses(loss, bins)
        _differences(by_depth_, bins)
        _differences(by_distance_, far)
        for axes, drawn in ((loss, bins), (by_depth_, bins), (by_distance_, far)):
            _labelled(axes, drawn)
        seeds = max(map(len, bins.bits.values()))
        means = f", means of {seeds} seeds" if seeds > 1 else ""
        runs = described([record for record, _ in evaluated])
        figure.suptitle(
            f"Loss by copy depth on the first {entry['bytes']:,} bytes of {entry['split']}\n{runs}", fontsize=12
        )
        loss.set_title(f"Loss by depth{means}", fontsize=9.5)
        by_depth_.set_title("Difference by depth, 95 % interval", fontsize=9.5)
        by_distance_.set_title(f"Difference by distance, depth {COPIES} or more", fontsize=9.5)
        loss.set_xlabel(f"copy depth ({unit} of context that match)")
        by_depth_.set_xlabel(f"copy depth ({unit} of context that match)")
        by_distance_.set_xlabel(f"distance of the nearest match ({unit})")
        loss.set_ylabel(f"{entry['split']} loss (bits per byte)")
        for axes in (by_depth_, by_distance_):
            axes.set_ylabel(f"minus {TRANSFORMER} (bits per byte)")
        handles, labels = loss.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=len(labels),
            frameon=False,
            handlelength=3.5,
        )
        return write_figure(figure, path)


def _losses(axes: Any, bins: Bins) -> None:
    share = axes.twinx()
    share.bar(range(len(bins.labels)), [100 * bins.share(k) for k in range(len(bins.labels))], color="0.88", width=0.8)
    share.set_ylabel("share of the bytes (%), bars", color="0.4")
    share.tick_params(axis="y", colors="0.4")
    share.spines[["top", "left"]].set_visible(False)
    axes.set_zorder(share.get_zorder() + 1)  # curves before the bars
    axes.patch.set_visible(False)
    for model in bins.bits:
        color, line, marker = STYLES.get(model, OTHER)
        values = [bins.mean(model, k).value for k in range(len(bins.labels))]
        axes.plot(values, color=color, linestyle=line, marker=marker, markersize=4.5, linewidth=1.6, label=model)


def _differences(axes: Any, bins: Bins) -> None:
    """Of bins that have an interval: a mean over a handful of bytes would set the scale of the panel."""
    axes.axhline(0, color="0.3", linewidth=0.8)
    for model in bins.bits:
        differences = [bins.difference(model, k) for k in range(len(bins.labels))]
        known = [(k, d.value, d.half_width) for k, d in enumerate(differences) if d and np.isfinite(d.half_width)]
        if not known:
            continue
        at, values, half = np.array(known).T
        color, line, marker = STYLES.get(model, OTHER)
        axes.fill_between(at, values - half, values + half, color=color, alpha=0.15, linewidth=0)
        axes.plot(at, values, color=color, linestyle=line, marker=marker, markersize=4.5, linewidth=1.6)


def _labelled(axes: Any, bins: Bins) -> None:
    """The bins below the axis: every other one where they are many, aslant where their names are long."""
    shown = range(0, len(bins.labels), 2 if len(bins.labels) > 10 else 1)
    axes.set_xticks(shown, [bins.labels[k] for k in shown])
    if max(map(len, bins.labels), default=0) > 4:
        axes.set_xticks(shown, [bins.labels[k] for k in shown], rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, max(1, len(bins.labels)) - 0.4)
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
