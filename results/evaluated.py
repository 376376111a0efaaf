"""Tables and figures of what was evaluated beyond the loss: copy depth, and trained coupling functions."""

from pathlib import Path

from results.copy_depth import distance_table, table, verdict
from results.copy_depth_figure import plot_copy_depth
from results.coupling import plot_coupling
from results.coupling import table as coupling_table
from results.document import Document, Table
from results.evaluations import entry
from results.evidence import Evidence
from results.protocol import footnotes
from training.record import RunRecord


def build_copy_depth(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the loss by copy depth and by distance, what that says of the paper's claim, and the figure."""
    records, notes = _with_entry(evidence, "copy_depth")
    if not records:
        document.tables.append(Table("loss by copy depth", [{"depth": "all", "loss": "not run"}], ("depth",), notes))
        return
    made = entry(records[0], "copy_depth")
    assert made is not None
    of = f"bits per byte on the first {made['bytes']:,} validation bytes of {evidence.corpus}"
    notes.insert(0, "Depth: length of the longest earlier match, in the window, of the bytes before the one predicted.")
    notes.insert(
        1,
        "Means over seeds; differences to the transformer of the same seeds ± half of their 95 % interval.",
    )
    data = [
        {"model": record.config["model"]["name"], "seed": record.seed, "depth": depth, "bytes": sum(counts)}
        | {"nats": sum(nats)}
        for record in records
        if (of_run := entry(record, "copy_depth"))
        for depth, counts, nats in zip(
            of_run["depths"], zip(*of_run["counts"], strict=True), zip(*of_run["nats"], strict=True), strict=True
        )
    ]
    document.tables.append(Table(f"loss by copy depth, {of}", table(records), ("depth",), notes, data))
    document.tables.append(
        Table(f"loss by distance of the match, {of}", distance_table(records), ("depth", "distance"))
    )
    judged = [
        {"model": each.model, "the paper says": each.claim, "here": each.outcome, "by depth": _by_side(each.by_depth)}
        for each in verdict(records)
    ]
    document.tables.append(
        Table("the paper's statements on copying, here", judged, ("model", "the paper says", "here", "by depth"))
    )
    plot_copy_depth(records, folder / stem)
    document.figures.append((stem, f"{evidence.corpus}: loss by copy depth, and its difference to the transformer"))


def build_coupling(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the harmonics of the coupling kernels by layer and delay, order parameters, and a figure for each model."""
    records, notes = _with_entry(evidence, "coupling")
    if not records:
        document.tables.append(Table("coupling kernels", [{"model": "all", "kernel": "not run"}], ("model",), notes))
        return
    notes.insert(0, "Statistics over the coordinates of all seeds; angle: circular mean, weighted by |κ|.")
    notes.insert(
        1,
        "Repulsive: share of coordinates with a negative real part. Order parameter, null slot, gate: by head.",
    )
    document.tables.append(Table("coupling kernels of trained layers", coupling_table(records), ("model",), notes))
    for path in plot_coupling(records, folder / stem):
        if path.suffix == ".png":
            model = path.stem.removeprefix(f"{stem}-")
            caption = (
                f"{evidence.corpus}, {model}: coupling functions by layer and delay, and the order parameter by layer"
            )
            document.figures.append((path.stem, caption))


def _with_entry(evidence: Evidence, task: str) -> tuple[list[RunRecord], list[str]]:
    """The records that hold an evaluation, and notes on the others."""
    records = [record for record in evidence.records if entry(record, task) is not None]
    notes = footnotes(records)
    if lacking := len(evidence.records) - len(records):
        notes.append(
            f"{lacking} trained runs were not evaluated: type python eval.py run=PATH task={task} split=validation."
        )
    if missing := len(evidence.runs) - len(evidence.records):
        notes.append(f"{missing} of {len(evidence.runs)} runs are missing.")
    return records, notes


def _by_side(by_depth: dict[str, str]) -> str:
    """`above: 0 1 2; cannot be told: 3`."""
    sides = dict.fromkeys(by_depth.values())
    return "; ".join(f"{side}: {' '.join(d for d, s in by_depth.items() if s == side)}" for side in sides)
