"""Tables and figures of what was evaluated beyond the loss: copy depth, and trained coupling functions."""

from pathlib import Path

from results.copy_depth import BASELINE, Bins, by_depth, distance_table, table, verdict
from results.copy_depth_figure import plot_copy_depth
from results.coupling import plot_coupling
from results.coupling import table as coupling_table
from results.document import Document, Table
from results.evaluations import BYTES, Evaluated, entry
from results.evidence import Evidence
from results.protocol import footnotes

SEEN = {
    "holds": "yes",
    "does not hold": "no",
}  # whether a claim is reproduced, is said of runs at its own setting alone


def build_copy_depth(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the loss by copy depth and by distance, what that says of the paper's claim, and the figure."""
    found, notes = _with_entry(evidence, "copy_depth")
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
    document.tables.append(Table(f"loss by copy depth, {of}", table(found), ("depth",), notes, data))
    document.tables.append(Table(f"loss by distance of the match, {of}", distance_table(found), ("depth", "distance")))
    judged = [
        {
            "model": each.model,
            "the paper says": each.claim,
            "seen here": SEEN.get(each.outcome, each.outcome),
            "by depth": _by_side(each.by_depth),
        }
        for each in verdict(found)
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


def build_coupling(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the harmonics of the coupling kernels by layer and delay, order parameters, and a figure for each model."""
    found, notes = _with_entry(evidence, "coupling")
    if not found:
        document.tables.append(Table("coupling kernels", [{"model": "all", "kernel": "not run"}], ("model",), notes))
        return
    notes.insert(0, "Statistics over the coordinates of all seeds; angle: circular mean, weighted by |κ|.")
    notes.insert(
        1,
        "Repulsive: share of coordinates with a negative real part. Order parameter, null slot, gate: by head.",
    )
    document.tables.append(Table("coupling kernels of trained layers", coupling_table(found), ("model",), notes))
    for path in plot_coupling(found, folder / stem):
        if path.suffix == ".png":
            model = path.stem.removeprefix(f"{stem}-")
            caption = (
                f"{evidence.corpus}, {model}: coupling functions by layer and delay, and the order parameter by layer"
            )
            document.figures.append((path.stem, caption))


def _with_entry(evidence: Evidence, task: str) -> tuple[list[Evaluated], list[str]]:
    """The runs with the evaluation that counts, and notes on the others."""
    smoke = evidence.sweep.profile == "smoke"
    found = [(record, made) for record in evidence.records if (made := entry(record, task, smoke=smoke)) is not None]
    notes = footnotes([record for record, _ in found])
    if lacking := len(evidence.records) - len(found):
        of = f" max_bytes={BYTES[smoke]}" if task == "copy_depth" else ""
        notes.append(
            f"{lacking} trained runs were not evaluated on these bytes at their last step: "
            f"type python eval.py run=PATH task={task} split=validation{of}."
        )
    return found, notes + evidence.shortfall()


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
