"""Losses on texts that no run was trained on: a run's own test split, and whole texts of other corpora."""

from typing import Any

from measures.statistics import shown_difference, shown_mean
from results.document import Document, Table
from results.evidence.runs import Evidence
from results.tables.perplexities import perplexities

Entries = dict[str, dict[int, dict[str, Any]]]  # variant -> seed -> evaluation


def add_other_texts(evidence: Evidence, document: Document) -> None:
    """Add a table for each text that `eval.py` (task=loss) scored at the last step of a run: bits per byte, differences
    to the baseline, perplexity per word. Numbers of one table have one text, context and stride.
    """
    seeds = len({run.seed for run in evidence.runs})
    baseline = evidence.sweep.baseline
    for title, entries in _by_text(evidence).items():
        losses = {
            variant: {seed: float(entry["bits_per_byte"]) for seed, entry in of_variant.items()}
            for variant, of_variant in entries.items()
        }
        lines = [
            {
                "variant": variant,
                "bits per byte": shown_mean(losses[variant], seeds),
                f"minus {baseline}": ""
                if variant == baseline
                else shown_difference(losses[variant], losses.get(baseline, {}), seeds),
                **perplexities(entries, variant, seeds),
            }
            for variant in sorted(losses, key=lambda each: sum(losses[each].values()) / len(losses[each]))
        ]
        data = [
            {"variant": variant, "seed": seed, "bits_per_byte": entry["bits_per_byte"], "bytes": entry["bytes"]}
            for variant, of_variant in entries.items()
            for seed, entry in of_variant.items()
        ]
        document.tables.append(Table(title, lines, ("variant",), [], data))


def _by_text(evidence: Evidence) -> dict[str, Entries]:
    """The newest evaluation of each run by what it is of, as a title says it."""
    texts: dict[str, Entries] = {}
    for run, record, final in evidence.finals:
        for entry in record.evaluations:
            whole = entry.get("max_bytes") is None and entry["split"] in ("test", "text")
            if entry.get("task", "loss") == "loss" and whole and entry["step"] == final["step"]:
                texts.setdefault(_title(entry, evidence.corpus), {}).setdefault(run.variant, {})[run.seed] = entry
    return texts


def _title(entry: dict[str, Any], corpus: str) -> str:
    of = f"the test split of {corpus}"
    if text := entry.get("text"):
        of = f"{text['name']} (SHA-256 {text['sha256'][:12]}...), another corpus"
    words = f", {entry['words']:,} words" if "words" in entry else ""
    slide = "windows that begin anew" if entry["stride"] is None else f"windows that slide by {entry['stride']}"
    return (
        f"Loss on {of}: {entry['bytes']:,} bytes{words}, context {entry['context']} tokens, {slide}; means and "
        "differences ± 95 % interval over seeds"
    )
