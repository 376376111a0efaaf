"""Validation loss against training tokens, as PNG and SVG. Models differ by line and marker too, for grey print."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.tokenizers import ONE_BYTE
from results.evidence.curves import Curve, curve_bytes, validation_curves
from results.evidence.protocol import trained_on
from results.evidence.settings import (
    CIRCUMSTANCES,
    differing_settings,
    label,
    same_data,
    settings_of,
    shown_value,
    tokenizer_of,
)
from results.figures.style import LINES, OTHER, REPRODUCIBLE, STYLES, paler, write_figure
from training.run_record.record import RunRecord


def plot_curves(records: Sequence[RunRecord], path: Path) -> list[Path]:
    """Validation bits per byte against training tokens, one curve a record; the files written: `path`.png and .svg.

    Runs that differ in nothing but their seed are one curve, the mean over seeds, in a band from the least to the
    largest; further variants of a model are paler and of another line. A curve holds only validations of one number of
    bytes, the commonest in the records, because the loss on the start of a split is not that on more of it; a last
    validation on other bytes is a hollow marker, and the legend has its value (`drawn` says so in words). UserError for
    records of different data, or without validations.
    """
    # Imported here because it is slow, and not through pyplot, which would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    same_data(records)
    curves = validation_curves(records)
    lasts: Sequence[tuple[int, float] | None] = _last_on_other_bytes(records) or [None] * len(records)
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes: Any = figure.subplots()
        groups = _by_model(records, [[*c, last] if last else c for c, last in zip(curves, lasts, strict=True)])
        drawn_already: list[str] = []  # models
        for model, name, seeds in sorted(groups, key=lambda group: -_mean(group[2])[-1]):
            color, line, marker = STYLES.get(model, OTHER)
            if earlier := drawn_already.count(model):
                others = [other for other in LINES if other != line]
                color, line = paler(color, earlier), others[(earlier - 1) % len(others)]
            drawn_already.append(model)
            tokens, bits = [at for at, _ in seeds[0]], _mean(seeds)
            n = len(tokens) - (lasts[0] is not None)  # of the line
            look: Any = {"color": color, "marker": marker, "markersize": 4.5}
            low, high = ([extreme(column) for column in _columns(seeds)] for extreme in (min, max))
            if len(seeds) > 1:
                axes.fill_between(tokens[:n], low[:n], high[:n], color=color, alpha=0.2, linewidth=0)
            legend = f"{name}  {bits[-1]:.3f}"
            axes.plot(tokens[:n], bits[:n], linestyle=line, linewidth=1.6, label=legend, **look)
            if n < len(tokens):
                reach = ([bits[-1] - low[-1]], [high[-1] - bits[-1]])
                axes.errorbar(tokens[-1:], bits[-1:], reach, markerfacecolor="white", elinewidth=1, **look)
        tokenizer = tokenizer_of(records[0])
        one = "a token is a byte" if tokenizer in ONE_BYTE else f"tokenizer {tokenizer}"
        axes.set_xlabel(f"training tokens ({one})")
        axes.set_ylabel("validation loss (bits per byte)")
        corpus, scale = records[0].data.name, records[0].config["scale"]["name"]
        axes.set_title(f"Validation loss on {corpus}, {scale} parameters", fontsize=11)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        # The legend's order is that of the curves' ends, top to bottom. Curves that fall leave the upper right free.
        rising = any(bits[-1] > bits[0] for bits in (_mean(seeds) for _, _, seeds in groups))
        place = "best" if rising else "upper right"
        axes.legend(loc=place, frameon=False, title="model, last value drawn", handlelength=3.5)
        figure.supxlabel("\n".join([*drawn(records).split("; "), trained_on(records)]), fontsize=8, color="0.3")
        return write_figure(figure, path)


def drawn(records: Sequence[RunRecord]) -> str:
    """What `plot_curves` draws of these, in words: the bytes and the tokens of its points, and what a band is."""
    n_bytes = curve_bytes(records)
    end = max(points[-1][0] for points in validation_curves(records))
    words = f"lines: the first {n_bytes:,} validation bytes, up to {end:,} tokens"
    if lasts := _last_on_other_bytes(records):
        last_bytes, end = records[0].rows("validation")[-1]["bytes"], max(at for at, _ in lasts)
        words += f"; hollow, and in the legend: the first {last_bytes:,} validation bytes, after {end:,} tokens"
    means = any(len(seeds) > 1 for _, _, seeds in _by_model(records, validation_curves(records)))
    return words + ("; means over seeds, bands from the least to the largest" if means else "")


def _last_on_other_bytes(records: Sequence[RunRecord]) -> list[tuple[int, float]] | None:
    """(tokens, bits per byte) of each record's last validation, where all took one other number of bytes for it."""
    lasts = [record.rows("validation")[-1] for record in records]
    if len({row["bytes"] for row in lasts}) > 1 or lasts[0]["bytes"] == curve_bytes(records):
        return None
    return [(row["tokens"], row["bits_per_byte"]) for row in lasts]


def _by_model(records: Sequence[RunRecord], curves: Sequence[Curve]) -> list[tuple[str, str, list[Curve]]]:
    """(model, label, its curves): one entry for runs that differ in nothing but the seed. The label has the settings in
    which runs of one model differ. Where a mean would mean nothing, there is one entry a record.
    """
    names = [str(record.config["model"]["name"]) for record in records]
    varied = {name: _varied(records, name) for name in set(names)}
    variants = [_variant(record, varied[name]) for name, record in zip(names, records, strict=True)]
    places = list(zip(names, variants, strict=True))
    seeds = {(place, record.seed) for place, record in zip(places, records, strict=True)}
    if len(seeds) < len(records) or not _same_places(curves):
        labels = [label(record, records) + variant for record, variant in zip(records, variants, strict=True)]
        return [(n, text, [c]) for n, text, c in zip(names, labels, curves, strict=True)]
    groups: dict[tuple[str, str], list[Curve]] = {}
    for place, curve in zip(places, curves, strict=True):
        groups.setdefault(place, []).append(curve)
    return [
        (name, name + variant + (f", {len(seeds)} seeds" if len(seeds) > 1 else ""), seeds)
        for (name, variant), seeds in groups.items()
    ]


def _varied(records: Sequence[RunRecord], model: str) -> list[str]:
    """The settings in which runs of one model differ."""
    return differing_settings([one for one in records if one.config["model"]["name"] == model], CIRCUMSTANCES)


def _variant(record: RunRecord, keys: Sequence[str]) -> str:
    settings = settings_of(record.config)
    return "".join(f", {key}={shown_value(settings.get(key))}" for key in keys)


def _same_places(curves: Sequence[Curve]) -> bool:
    """Whether all curves have their points at the same tokens, up to what the last window of an epoch lacks."""
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
