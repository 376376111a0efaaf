"""Figures from run records, as PNG and SVG. Models differ by colour, line style and marker, so grey print reads too."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.errors import UserError
from results.evidence.settings import CIRCUMSTANCES, differing_settings, label, same_data
from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure
from training.run_record.record import RunRecord

Curve = list[tuple[int, float]]  # (tokens, bits per byte) of each validation


def plot_curves(records: Sequence[RunRecord], path: Path) -> list[Path]:
    """Validation bits per byte against training tokens, one curve a record; the files written: `path`.png and .svg.

    Where runs of each model differ in nothing but their seed, a curve is the mean over seeds, in a band from the least
    to the largest.

    A curve holds only validations of one number of bytes, the commonest in the records, because the loss on the
    start of a split is not that on the whole of it. UserError for records of different data, or without validations.
    """
    # Imported here because it is slow, and not through pyplot, which would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    same_data(records)
    curves = validation_curves(records)
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes: Any = figure.subplots()
        for model, name, seeds in sorted(_by_model(records, curves), key=lambda group: -_mean(group[2])[-1]):
            color, line, marker = STYLES.get(model, OTHER)
            tokens, bits = [at for at, _ in seeds[0]], _mean(seeds)
            if len(seeds) > 1:
                low, high = ([extreme(column) for column in _columns(seeds)] for extreme in (min, max))
                axes.fill_between(tokens, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(
                tokens,
                bits,
                color=color,
                linestyle=line,
                marker=marker,
                markersize=4.5,
                linewidth=1.6,
                label=f"{name}  {bits[-1]:.3f}",
            )
        axes.set_xlabel("training tokens (bytes)")
        axes.set_ylabel("validation loss (bits per byte)")
        axes.set_title(f"{records[0].data.name}, {records[0].config['scale']['name']} parameters", fontsize=11)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        # Curves fall, so the upper right is free; the legend's order is that of the curves' ends, top to bottom.
        axes.legend(loc="upper right", frameon=False, title="model, last value drawn", handlelength=3.5)
        return write_figure(figure, path)


def validation_curves(records: Sequence[RunRecord]) -> list[Curve]:
    """(tokens, bits per byte) of each record's validations, all of the same number of bytes. UserError for none."""
    rows = [record.rows("validation") for record in records]
    if not rows or not all(rows):
        raise UserError("a figure needs at least one validation of every run; let them train further")
    n_bytes = Counter(row["bytes"] for run in rows for row in run).most_common(1)[0][0]
    curves = [[(row["tokens"], row["bits_per_byte"]) for row in run if row["bytes"] == n_bytes] for run in rows]
    if not all(curves):
        without = [
            f"{record.config['model']['name']} seed {record.seed}"
            for record, curve in zip(records, curves, strict=True)
            if not curve
        ]
        raise UserError(
            f"the runs were validated on different numbers of bytes: most on {n_bytes:,}, and never on that many "
            f"{', '.join(without)}; train them with one trainer.val_bytes"
        )
    return curves


def _by_model(records: Sequence[RunRecord], curves: Sequence[Curve]) -> list[tuple[str, str, list[Curve]]]:
    """(model, label, its curves): one entry a model where runs differ in nothing but the seed, else one a record."""
    names = [str(record.config["model"]["name"]) for record in records]
    seeds = {(name, record.seed) for name, record in zip(names, records, strict=True)}
    if differing_settings(records, CIRCUMSTANCES) or len(seeds) < len(records) or not _same_places(curves):
        return [(n, label(r, records), [c]) for n, r, c in zip(names, records, curves, strict=True)]
    groups: dict[str, list[Curve]] = {}
    for name, curve in zip(names, curves, strict=True):
        groups.setdefault(name, []).append(curve)
    return [(n, n if len(found) == 1 else f"{n}, {len(found)} seeds", found) for n, found in groups.items()]


def _same_places(curves: Sequence[Curve]) -> bool:
    """Whether all curves have their points at the same tokens, but for what the last window of an epoch lacks."""
    first = [at for at, _ in curves[0]]
    return all(
        len(curve) == len(first)
        and all(abs(at - place) <= 0.01 * place for (at, _), place in zip(curve, first, strict=True))
        for curve in curves
    )


def _columns(seeds: Sequence[Curve]) -> list[list[float]]:
    """The values of all seeds at each validation."""
    return [[bits for _, bits in column] for column in zip(*seeds, strict=True)]


def _mean(seeds: Sequence[Curve]) -> list[float]:
    return [statistics.mean(column) for column in _columns(seeds)]
