"""Heads of models at the start and after training, layer by layer: how much they differ and how widely they look.

The measures are those of measures/head_maps.py, as `eval.py task=synchrony` left them in the records. A head is one of
several; a layer is given as the mean over its heads, with the least and the largest head beside it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.text_values import argument
from measures.statistics import shown_difference, shown_mean
from results.document import Document, Row, Table
from results.evaluate.heads import LONGEST, NO_HEADS
from results.evidence.protocol import UNPAIRED, Protocol, described, footnotes, require_one
from results.evidence.runs import Evidence, Run, few
from results.evidence.settings import tokenizer_of
from results.evidence.stored import stored_evaluation
from results.figures.head_measures import plot_synchrony
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
    stage: str
    entry: dict[str, Any]

    @property
    def protocol(self) -> Protocol:
        """That of the evaluation. Entries from before they told their context had the run's, up to 512."""
        assert self.run.record is not None
        context = self.entry.get("context") or min(int(self.run.record.config["data"]["context"]), LONGEST)
        tokens = self.entry["windows"] * context
        return Protocol("heads", "1", tokenizer_of(self.run.record), str(self.entry["split"]), tokens, context)

    @property
    def layers(self) -> int:
        return len(self.entry["heads"])

    def heads(self, measure: str, layer: int) -> list[float]:
        """The measure of each head of a layer, of which it may have none; diversity is one number for all of them."""
        value = self.entry["heads"][layer][measure]
        if value is None:
            return []
        return list(value) if isinstance(value, list) else [value]

    def has_heads(self, layer: int | str) -> bool:
        """Whether there is such a layer and it has heads, or any layer has for `ALL`."""
        layers = range(self.layers) if layer == ALL else {int(layer)} & set(range(self.layers))
        return any(self.heads("active", index) for index in layers)

    def mean(self, measure: str, layer: int | str) -> float:
        """Over the heads of a layer, or of `ALL` layers that have heads with the same weight."""
        layers = [index for index in range(self.layers) if self.has_heads(index) and layer in (ALL, index)]
        return statistics.mean(statistics.mean(self.heads(measure, index)) for index in layers)


def add_heads(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add a table for each measure and a figure of all three. UserError for evaluations of different protocols."""
    runs = evidence.runs
    variants = list(dict.fromkeys(run.variant for run in runs))
    measured = [
        Measured(run, stage, entry)
        for run in runs
        for stage in STAGES
        if run.record and (entry := stored_evaluation(run.record, "synchrony", stage == "start")) is not None
    ]
    require_one([one.protocol for one in measured], document.title)
    text = evidence.corpus
    if measured:
        protocol = measured[0].protocol
        windows = protocol.denominator // protocol.context
        text = f"the first {counted(windows, 'validation window')} of {protocol.context} tokens of {evidence.corpus}"
    seeds = len({run.seed for run in runs})
    notes = ([UNPAIRED] if measured else []) + _missing(runs, evidence)
    notes += footnotes([run.record for run in runs if run.record and any(one.run is run for one in measured)])
    for number, (measure, (title, _)) in enumerate(MEASURES.items()):
        what = "mean" if measure == "diversity" else "mean over heads (least to largest head, each a mean over seeds)"
        table = Table(
            f"{title}, on {text}: {what}, and differences, ± 95 % interval over seeds",
            _rows(measured, variants, measure, evidence.sweep.baseline, seeds),
            ("layer", "when"),
            notes if number == len(MEASURES) - 1 else [],
            _data(measured, measure),
        )
        document.tables.append(table)
    if measured:
        panels = {
            axis: {variant: _series(measured, variant, measure) for variant in variants}
            for measure, (_, axis) in MEASURES.items()
        }
        records = list({id(one.run.record): one.run.record for one in measured if one.run.record}.values())
        plot_synchrony(panels, folder / stem, f"Heads before and after training\n{described(records)}")
        caption = f"{evidence.corpus}: heads by layer, mean over seeds, with the range of seeds; hollow at the start, "
        document.figures.append((stem, caption + "filled after training"))
    add_locking(evidence, document, folder, stem)


def _rows(measured: Sequence[Measured], variants: Sequence[str], measure: str, baseline: str, seeds: int) -> list[Row]:
    """A row for each layer and stage, then for all layers."""
    rows = []
    layers: list[int | str] = list(range(max((one.layers for one in measured), default=0)))
    for layer in [*layers, ALL]:
        for stage, when in STAGES.items():
            row = {"layer": str(layer), "when": when}
            values = {variant: _values(measured, variant, stage, measure, layer) for variant in variants}
            for variant in variants:
                row[variant] = _lacking(measured, variant, stage, layer) or shown_mean(values[variant], seeds)
                if values[variant] and measure != "diversity" and layer != ALL:
                    row[variant] += _range(measured, variant, stage, measure, int(layer))
            for variant in variants:
                if variant != baseline:
                    difference = shown_difference(values[variant], values.get(baseline, {}), seeds)
                    row[f"{variant} minus {baseline}"] = difference
            rows.append(row)
    return rows


def _values(measured: Sequence[Measured], variant: str, stage: str, measure: str, layer: int | str) -> dict[int, float]:
    """Seed -> mean over heads."""
    return {one.run.seed: one.mean(measure, layer) for one in _of_layer(measured, variant, stage, layer)}


def _of_layer(measured: Sequence[Measured], variant: str, stage: str, layer: int | str) -> list[Measured]:
    """Those that have heads in the layer."""
    own = [one for one in measured if (one.run.variant, one.stage) == (variant, stage)]
    return [one for one in own if one.has_heads(layer)]


def _lacking(measured: Sequence[Measured], variant: str, stage: str, layer: int | str) -> str:
    """The cell of a layer that a measured variant lacks, or that has no heads; else empty."""
    own = [one for one in measured if (one.run.variant, one.stage) == (variant, stage)]
    if not own or any(one.has_heads(layer) for one in own):
        return ""
    return NO_HEADS if layer == ALL or any(int(layer) < one.layers for one in own) else "no such layer"


def _range(measured: Sequence[Measured], variant: str, stage: str, measure: str, layer: int) -> str:
    """The least and the largest head: heads of different seeds are not the same heads, so each is a mean over seeds."""
    heads = [one.heads(measure, layer) for one in _of_layer(measured, variant, stage, layer)]
    return f" ({statistics.mean(map(min, heads)):.2f} to {statistics.mean(map(max, heads)):.2f})"


def _series(measured: Sequence[Measured], variant: str, measure: str) -> Mapping[str, list[list[float]]]:
    """Stage -> layer -> the value of each seed, for the figure."""
    layers = range(max((one.layers for one in measured if one.run.variant == variant), default=0))
    return {
        stage: [list(_values(measured, variant, stage, measure, layer).values()) for layer in layers]
        for stage in STAGES
    }


def _data(measured: Sequence[Measured], measure: str) -> list[dict[str, Any]]:
    """One line a head, or a layer where the measure is the layer's."""
    return [
        {"variant": one.run.variant, "model": one.run.model, "seed": one.run.seed, "when": STAGES[one.stage]}
        | {"step": one.entry["step"], "layer": layer}
        | ({} if measure == "diversity" else {"head": head})
        | {measure: value}
        for one in measured
        for layer in range(one.layers)
        for head, value in enumerate(one.heads(measure, layer))
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
        folder = argument("run", str(run.path.parent))
        command = f"python eval.py {folder} checkpoint={stage} split=validation task=synchrony"
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
