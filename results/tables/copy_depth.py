"""Tables of the loss by copy depth and by distance, what they say of the paper's claim, and the figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.document import Document, Row, Table
from results.evidence.copy_depth import COPIES, LN2, Bins, by_depth, by_distance, start, statements
from results.evidence.runs import Evidence
from results.evidence.settings import TRANSFORMER, positions_of
from results.evidence.stored import Evaluated, with_evaluation
from results.figures.copy_depth import plot_copy_depth

# What is said of an outcome here; whether a claim is reproduced is said of runs at its own setting alone.
SEEN = {"holds": "yes", "does not hold": "no"}


def add_copy_depth(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the loss by copy depth and by distance, what that says of the paper's claim, and the figure."""
    evaluated, notes = with_evaluation(evidence, "copy_depth")
    if not evaluated:
        document.tables.append(Table("loss by copy depth", [{"depth": "all", "loss": "not run"}], ("depth",), notes))
        return
    unit = positions_of(evaluated[0][0])
    seeds = "; ".join(f"{model} {' '.join(map(str, runs))}" for model, runs in by_depth(evaluated).bits.items())
    notes = [
        f"Depth: length of the longest earlier match, in the window, of the {unit} before the one predicted.",
        "Means over seeds. ± of a difference is its 95 % interval over text (50 contiguous blocks, the two models "
        "block by block) and seeds (Welch, not paired); over text alone where one of the two has a single seed.",
        f"Seeds: {seeds}.",
        *notes,
    ]
    what = f"bits per byte on the first {evaluated[0][1]['bytes']:,} validation bytes of {evidence.corpus}"
    data = [
        {"model": record.config["model"]["name"], "seed": record.seed, "depth": depth, "bytes": sum(counts)}
        | {"nats": sum(nats)}
        for record, entry in evaluated
        for depth, counts, nats in zip(
            entry["depths"], zip(*entry["counts"], strict=True), zip(*entry["nats"], strict=True), strict=True
        )
    ]
    judged = [
        {
            "model": each.model,
            "the paper says": each.claim,
            "seen here": SEEN.get(each.outcome, each.outcome),
            "by depth": _by_side(each.by_depth),
        }
        for each in statements(evaluated)
    ]
    document.tables += [
        Table(f"loss by copy depth, {what}", rows_by_depth(evaluated), ("depth",), notes, data),
        Table(f"loss by distance of the match, {what}", rows_by_distance(evaluated), ("depth", "distance")),
        Table(
            "the paper's statements on copying, and what is seen of them in this setting",
            judged,
            ("model", "the paper says", "seen here", "by depth"),
        ),
    ]
    plot_copy_depth(evaluated, folder / stem)
    caption = "loss by copy depth, its difference to the transformer with 95 % intervals, and that by distance"
    document.figures.append((stem, f"{evidence.corpus}: {caption}; {what}"))


def _by_side(by_depth: dict[str, str]) -> str:
    """`above: 0 1 2; not significant: 3`."""
    sides = dict.fromkeys(by_depth.values())
    return "; ".join(f"{side}: {' '.join(d for d, s in by_depth.items() if s == side)}" for side in sides)


def rows_of_one(entry: dict[str, Any]) -> list[Row]:
    """A row for each depth of one evaluation, then all bytes; ± is the 95 % interval over the text."""
    bins = Bins(entry["depths"], np.array(entry["counts"]), {"": {0: np.array(entry["nats"]) / LN2}})
    return [
        {"depth": row["depth"], "bytes": row["bytes"], "bits per byte": part.mean("", k).shown()}
        for part in (bins, bins.merged("all", range(len(bins.labels))))
        for k, row in enumerate(_rows(part, "depth", bins.counts.sum()))
    ]


def rows_by_depth(evaluated: Sequence[Evaluated]) -> list[Row]:
    """A row for each depth, then depth 4 and more, then all bytes: share of the bytes, and for each model bits per byte
    (mean over seeds) and its difference to the transformer with its 95 % interval. UserError as of `by_depth`.
    """
    bins = by_depth(evaluated)
    deep = [k for k, label in enumerate(bins.labels) if start(label) >= COPIES]
    merged = (bins.merged(f"{COPIES}+", deep), bins.merged("all", range(len(bins.labels))))
    return [row for part in (bins, *merged) for row in _rows(part, "depth", bins.counts.sum())]


def rows_by_distance(evaluated: Sequence[Evaluated]) -> list[Row]:
    """As `rows_by_depth`, a row for each class of depths and each distance of the match that occurs."""
    rows = [
        {"depth": depths, **row}
        for depths, bins in by_distance(evaluated).items()
        for row in _rows(bins, "distance", evaluated[0][1]["bytes"])
    ]
    return [row for row in rows if row["bytes"]]


def _rows(bins: Bins, name: str, total: int) -> list[Row]:
    rows = []
    for k, label in enumerate(bins.labels):
        count = int(bins.counts[:, k].sum())
        row = {name: label, "bytes": f"{100 * count / total:.2f} %" if count else ""}
        for model in bins.bits:
            row[model] = f"{bins.mean(model, k).value:.4f}" if count else ""
        for model in bins.bits:
            if (difference := bins.difference(model, k)) is not None:
                row[f"{model} minus {TRANSFORMER}"] = difference.shown("+")
        rows.append(row)
    return rows
