"""Heads of models at the start and after training, layer by layer: how much they differ and how widely they look.

The measures are those of measures/head_maps.py, as `eval.py task=synchrony` left them in the records. A head is one of
several; what stands for a layer is the mean over its heads, with the least and the largest head beside it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.document import Document, Row, Table
from results.evaluate.heads import LONGEST
from results.evidence.protocol import Protocol, footnotes, require_one
from results.evidence.runs import Evidence, Run, few
from results.evidence.stored import stored_evaluation
from results.figures.head_measures import plot_synchrony
from results.statistics import compared, spread
from results.tables.locking import add_locking

STAGES = {"start": "at the start", "last": "after training"}  # by eval.py's `checkpoint`
MEASURES = {  # by their name in the record: title, axis of the figure
    "diversity": ("diversity of heads (total variation between the maps of two heads, mean over pairs)", "diversity"),
    "entropy": ("row entropy / log N", "row entropy / log N"),
    "active": ("share of active pairs", "active pairs"),
}
ALL = "all"  # the mean over layers, in place of a layer's number


@dataclass(frozen=True)
class Measured:
    """One evaluation: which run, at which of STAGES, and the entry of the record."""

    run: Run
    variant: str
    stage: str
    made: dict[str, Any]

    @property
    def protocol(self) -> Protocol:
        """That of the evaluation. Entries from before they told their context had the run's, up to 512."""
        assert self.run.record is not None
        data = self.run.record.config["data"]
        context = self.made.get("context") or min(int(data["context"]), LONGEST)
        taken = self.made["windows"] * context
        return Protocol("heads", "1", str(data.get("tokenizer") or "bytes"), str(self.made["split"]), taken, context)

    def heads(self, measure: str, layer: int) -> list[float]:
        """The measure of each head of a layer; diversity is one number for all of them."""
        value = self.made["heads"][layer][measure]
        return list(value) if isinstance(value, list) else [value]

    def mean(self, measure: str, layer: int | str) -> float:
        """Over the heads of a layer, or of `ALL` layers with the same weight."""
        layers = range(len(self.made["heads"])) if layer == ALL else [int(layer)]
        return statistics.mean(statistics.mean(self.heads(measure, index)) for index in layers)


def add_heads(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add a table for each measure and a figure of all three. UserError for evaluations of different protocols."""
    runs = evidence.runs
    variants = list(dict.fromkeys(run.row or run.model for run in runs))
    found = [
        Measured(run, run.row or run.model, stage, made)
        for run in runs
        for stage in STAGES
        if run.record is not None and (made := stored_evaluation(run.record, "synchrony", stage == "start")) is not None
    ]
    require_one([measured.protocol for measured in found], document.title)
    of = evidence.corpus
    if found:
        protocol = found[0].protocol
        windows = protocol.denominator // protocol.context
        of = f"the first {windows} validation windows of {protocol.context} bytes of {evidence.corpus}"
    seeds = len({run.seed for run in runs})
    notes = _missing(runs, evidence)
    notes += footnotes([run.record for run in runs if run.record and any(m.run is run for m in found)])
    for number, (measure, (title, _)) in enumerate(MEASURES.items()):
        what = "mean" if measure == "diversity" else "mean over heads (least to largest head, each a mean over seeds)"
        table = Table(
            f"{title}, on {of}: {what}, ± standard deviation over seeds; difference of the same seed, 95 % interval",
            _rows(found, variants, measure, evidence.sweep.baseline, seeds),
            ("layer", "when"),
            notes if number == len(MEASURES) - 1 else [],
            _data(found, measure),
        )
        document.tables.append(table)
    if found:
        series = {measure: {variant: _series(found, variant, measure) for variant in variants} for measure in MEASURES}
        plot_synchrony({MEASURES[measure][1]: of for measure, of in series.items()}, folder / stem, evidence.corpus)
        caption = f"{evidence.corpus}: heads by layer, mean over seeds, with the range of seeds; hollow at the start, "
        document.figures.append((stem, caption + "filled after training"))
    add_locking(evidence, document, folder, stem)


def _rows(found: Sequence[Measured], variants: Sequence[str], measure: str, baseline: str, seeds: int) -> list[Row]:
    """A row for each layer and stage, then for all layers."""
    rows = []
    layers: list[int | str] = list(range(max((len(m.made["heads"]) for m in found), default=0)))
    for layer in [*layers, ALL]:
        for stage, when in STAGES.items():
            row = {"layer": str(layer), "when": when}
            values = {variant: _values(found, variant, stage, measure, layer) for variant in variants}
            for variant in variants:
                there = any((m.variant, m.stage) == (variant, stage) for m in found)
                row[variant] = spread(values[variant], seeds) if values[variant] or not there else "no such layer"
                if values[variant] and measure != "diversity" and layer != ALL:
                    row[variant] += _range(found, variant, stage, measure, int(layer))
            for variant in variants:
                if variant != baseline:
                    row[f"{variant} minus {baseline}"] = compared(values[variant], values.get(baseline, {}), seeds)
            rows.append(row)
    return rows


def _values(found: Sequence[Measured], variant: str, stage: str, measure: str, layer: int | str) -> dict[int, float]:
    """Seed -> mean over heads."""
    return {m.run.seed: m.mean(measure, layer) for m in _of(found, variant, stage, layer)}


def _of(found: Sequence[Measured], variant: str, stage: str, layer: int | str) -> list[Measured]:
    own = [m for m in found if (m.variant, m.stage) == (variant, stage)]
    return [m for m in own if layer == ALL or int(layer) < len(m.made["heads"])]


def _range(found: Sequence[Measured], variant: str, stage: str, measure: str, layer: int) -> str:
    """The least and the largest head: heads of different seeds are not the same heads, so each is a mean over seeds."""
    heads = [m.heads(measure, layer) for m in _of(found, variant, stage, layer)]
    return f" ({statistics.mean(map(min, heads)):.2f} to {statistics.mean(map(max, heads)):.2f})"


def _series(found: Sequence[Measured], variant: str, measure: str) -> Mapping[str, list[list[float]]]:
    """Stage -> layer -> the value of each seed, for the figure."""
    layers = range(max((len(m.made["heads"]) for m in found if m.variant == variant), default=0))
    return {
        stage: [list(_values(found, variant, stage, measure, layer).values()) for layer in layers] for stage in STAGES
    }


def _data(found: Sequence[Measured], measure: str) -> list[dict[str, Any]]:
    """One entry a head, or a layer where the measure is the layer's."""
    return [
        {"variant": m.variant, "model": m.run.model, "seed": m.run.seed, "when": STAGES[m.stage]}
        | {"step": m.made["step"], "layer": layer}
        | ({} if measure == "diversity" else {"head": head})
        | {measure: value}
        for m in found
        for layer in range(len(m.made["heads"]))
        for head, value in enumerate(m.heads(measure, layer))
    ]


def _missing(runs: Sequence[Run], evidence: Evidence) -> list[str]:
    """What is not run, and what is trained but not evaluated, with what to type."""
    notes = evidence.shortfall()
    lacking = [
        (run, stage)
        for run in runs
        for stage in STAGES
        if run.record is not None and stored_evaluation(run.record, "synchrony", stage == "start") is None
    ]
    here = [(run, stage) for run, stage in lacking if run.path is not None and run.path.name == "record.json"]
    if here:
        run, stage = here[0]
        assert run.path is not None
        command = f"python eval.py run={run.path.parent} checkpoint={stage} split=validation task=synchrony"
        labels = [f"{run.label} {STAGES[stage]}" for run, stage in here]
        also = ", and so on" if len(here) > 1 else ""
        notes.append(f"Trained, not evaluated: {few(labels)}; type `{command}`{also}.")
    if gone := list(dict.fromkeys(run.label for run, stage in lacking if (run, stage) not in here)):
        name, profile = evidence.sweep.name, evidence.sweep.profile
        notes.append(
            f"Trained, not evaluated, and without checkpoints here: {few(gone)}; type "
            f"`python -m results.target table-{name} profile={profile}` with the same data, which trains them again."
        )
    return notes
