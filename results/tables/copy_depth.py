"""Tables and figures of what was evaluated beyond the loss: copy depth, and trained coupling functions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.document import Document, Row, Table
from results.evidence.copy_depth import BASELINE, COPIES, LN2, Bins, by_depth, by_distance, start, statements
from results.evidence.runs import Evidence
from results.evidence.stored import Evaluated, with_evaluation
from results.figures.copy_depth import plot_copy_depth
from results.paired_blocks import Estimate

SEEN = {
    "holds": "yes",
    "does not hold": "no",
}  # whether a claim is reproduced, is said of runs at its own setting alone


def add_copy_depth(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the loss by copy depth and by distance, what that says of the paper's claim, and the figure."""
    found, notes = with_evaluation(evidence, "copy_depth")
    if not found:
        document.tables.append(Table("loss by copy depth", [{"depth": "all", "loss": "not run"}], ("depth",), notes))
        return
    of = f"bits per byte on the first {found[0][1]['bytes']:,} validation bytes of {evidence.corpus}"
    notes.insert(0, "Depth: length of the longest earlier match, in the window, of the bytes before the one predicted.")
    notes.insert(
        1,
        "Means over seeds; differences to the transformer of the same seeds ± half of their 95 % interval, which is "
        "over the text and the seeds where several are shared, else over the text.",
    )
    notes.insert(2, f"Seeds: {_seeds(by_depth(found))}.")
    data = [
        {"model": record.config["model"]["name"], "seed": record.seed, "depth": depth, "bytes": sum(counts)}
        | {"nats": sum(nats)}
        for record, of_run in found
        for depth, counts, nats in zip(
            of_run["depths"], zip(*of_run["counts"], strict=True), zip(*of_run["nats"], strict=True), strict=True
        )
    ]
    document.tables.append(Table(f"loss by copy depth, {of}", rows_by_depth(found), ("depth",), notes, data))
    document.tables.append(
        Table(f"loss by distance of the match, {of}", rows_by_distance(found), ("depth", "distance"))
    )
    judged = [
        {
            "model": each.model,
            "the paper says": each.claim,
            "seen here": SEEN.get(each.outcome, each.outcome),
            "by depth": _by_side(each.by_depth),
        }
        for each in statements(found)
    ]
    document.tables.append(
        Table(
            "the paper's statements on copying, and what is seen of them in this setting",
            judged,
            ("model", "the paper says", "seen here", "by depth"),
        )
    )
    plot_copy_depth(found, folder / stem)
    document.figures.append((stem, f"{evidence.corpus}: loss by copy depth, and its difference to the transformer"))


def _seeds(bins: Bins) -> str:
    """`transformer 0 1 2; fsn 0 1, 2 pairs`."""
    parts = []
    for model, of_model in bins.bits.items():
        pairs = len(bins.shared(model))
        compared = "" if model == BASELINE else f", {pairs} pair{'s'[: pairs != 1]}"
        parts.append(f"{model} {' '.join(map(str, of_model))}{compared}")
    return "; ".join(parts)


def _by_side(by_depth: dict[str, str]) -> str:
    """`above: 0 1 2; cannot be told: 3`."""
    sides = dict.fromkeys(by_depth.values())
    return "; ".join(f"{side}: {' '.join(d for d, s in by_depth.items() if s == side)}" for side in sides)


def rows_of_one(entry: dict[str, Any]) -> list[Row]:
    """A row for each depth of one evaluation, then all bytes; ± is half of the 95 % interval over the text."""
    bins = Bins(entry["depths"], np.array(entry["counts"]), {"": {0: np.array(entry["nats"]) / LN2}})
    return [
        {"depth": row["depth"], "bytes": row["bytes"], "bits per byte": _shown(of.mean("", k))}
        for of in (bins, bins.merged("all", range(len(bins.labels))))
        for k, row in enumerate(_rows(of, "depth", bins.counts.sum()))
    ]


def rows_by_depth(evaluated: Sequence[Evaluated]) -> list[Row]:
    """A row for each depth, then depth 4 and more, then all bytes: share of the bytes, and for each model bits per byte
    (mean over seeds) and its difference to the transformer of the same seeds ± half of its 95 % interval.

    UserError for two runs of one model and seed, for runs of a model that differ in more than the seed, and for
    evaluations of different data, splits, bytes, windows, steps or bins.
    """
    bins = by_depth(evaluated)
    deep = [k for k, label in enumerate(bins.labels) if start(label) >= COPIES]
    merged = (bins.merged(f"{COPIES}+", deep), bins.merged("all", range(len(bins.labels))))
    return [row for of in (bins, *merged) for row in _rows(of, "depth", bins.counts.sum())]


def rows_by_distance(evaluated: Sequence[Evaluated]) -> list[Row]:
    """As `table`, a row for each class of depths and each distance of the match (bytes) that occurs."""
    rows = []
    for depths, bins in by_distance(evaluated).items():
        rows += [{"depth": depths, **row} for row in _rows(bins, "distance", evaluated[0][1]["bytes"])]
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
                row[f"{model} minus {BASELINE}"] = _shown(difference, "+")
        rows.append(row)
    return rows


def _shown(estimate: Estimate, sign: str = "") -> str:
    if math.isnan(estimate.value):
        return ""
    half = "" if math.isnan(estimate.half_width) else f" ± {estimate.half_width:.4f}"
    return f"{estimate.value:{sign}.4f}{half}"
