"""Translation: BLEU of each model on the test set, its difference to the baseline, and what training cost."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import UserError
from measures.statistics import Estimate, shown_difference, shown_mean
from results.document import Document, Table
from results.evidence.runs import Evidence
from results.evidence.stored import Evaluated, with_evaluation
from results.tables.equal_cost import by_name
from training.run_record.record import RunRecord

SCORED = {"bleu": "BLEU", "chrf": "chrF", "bleu_tokenised": "BLEU, tokenised"}


def add_translation(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the scores and the costs, a line for each row of the sweep, or each model where it has no rows; best first.

    UserError for translations of different test sets or searches.
    """
    evaluated, notes = with_evaluation(evidence, "translate")
    variant_of = {id(run.record): run.variant for run in evidence.runs if run.record is not None}
    variants = list(dict.fromkeys(run.variant for run in evidence.runs))
    seeds = len({run.seed for run in evidence.runs})
    baseline = evidence.sweep.baseline
    _require_one([entry for _, entry in evaluated], document.title)
    of = {variant: _by_seed(evaluated, variant_of, variant) for variant in variants}
    of = dict(sorted(of.items(), key=lambda one: -statistics.mean([e["bleu"] for e in one[1].values()] or [-1])))
    rows, their_bleu = [], {seed: entry["bleu"] for seed, entry in of.get(baseline, {}).items()}
    for variant, entries in of.items():
        bleu = {seed: entry["bleu"] for seed, entry in entries.items()}
        row = {"model": variant, "parameters": _parameters(evaluated, variant_of, variant)}
        for key, column in SCORED.items():
            row[column] = _shown({seed: entry[key] for seed, entry in entries.items()}, entries, key, seeds)
        row[f"BLEU minus {baseline}"] = (
            "" if variant == baseline else shown_difference(bleu, their_bleu, seeds, digits=2)
        )
        row["nats per token"] = shown_mean({seed: entry["nats"] for seed, entry in entries.items()}, seeds, digits=3)
        rows.append(row)
    title = "Translations"
    if evaluated:
        record, entry = evaluated[0]
        source, target = record.data.source["languages"]
        search = f"beam {entry['beam']}, length penalty {entry['length_penalty']:g}" if entry["beam"] > 1 else "greedy"
        title += f" of {entry['sentences']:,} sentences ({entry['test']}) from {source} into {target}, {search}"
        averaged = sorted({entry["checkpoint"] for _, entry in evaluated})
        notes = [
            f"BLEU: sacreBLEU, {entry['bleu_signature']}. chrF: {entry['chrf_signature']}.",
            "BLEU, tokenised: Moses' tokens, compounds split at hyphens, as older papers report WMT-14; another scale.",
            "± is the 95 % interval over seeds, or of one seed the bootstrap over sentences. nats per token: of the "
            "references, by teacher forcing, labels not smoothed.",
            f"Weights: {'; '.join(averaged)}.",
            "A size is promised without embedding and readout: an FSN whose readout is not tied has more parameters in "
            "all. Dropout leaves an FSN's embedding out, which is phases, and takes in the others'.",
            *(
                [f"nats are of references cut to the longest sentence: {cut:,} of them."]
                if (cut := entry["truncated"])
                else []
            ),
            *notes,
        ]
    data = [
        {"variant": variant, "seed": seed}
        | {key: entry[key] for key in ("test", "checkpoint", "step", "beam", "bleu", "bleu_interval", "chrf", "nats")}
        for variant, entries in of.items()
        for seed, entry in entries.items()
    ]
    document.tables.append(Table(title, rows, ("model",), notes, data))
    records = by_name((variant_of[id(record)], record) for record, _ in evaluated)
    if records:
        document.tables.append(_costs({variant: records[variant] for variant in of if variant in records}))


def _parameters(evaluated: Sequence[Evaluated], variant_of: Mapping[int, str], variant: str) -> str:
    counts = {record.parameters["total"] for record, _ in evaluated if variant_of[id(record)] == variant}
    return ", ".join(f"{count:,}" for count in sorted(counts))


def _by_seed(evaluated: Sequence[Evaluated], variant_of: Mapping[int, str], variant: str) -> dict[int, dict[str, Any]]:
    return {record.seed: entry for record, entry in evaluated if variant_of[id(record)] == variant}


def _shown(values: Mapping[int, float], entries: Mapping[int, dict[str, Any]], key: str, seeds: int) -> str:
    """Mean and interval over seeds; of the BLEU of one seed the interval over sentences."""
    if key == "bleu" and seeds == len(values) == 1:
        (entry,) = entries.values()
        return Estimate(entry["bleu"], entry["bleu_interval"]).shown(digits=2)
    return shown_mean(values, seeds, digits=2)


def _require_one(entries: Sequence[dict[str, Any]], title: str) -> None:
    """UserError for scores that cannot share a table, with what they differ in."""
    for key in ("test", "text_sha256", "sentences", "bleu_signature"):
        if len(values := {str(entry[key]) for entry in entries}) > 1:
            raise UserError(
                f"{title}: these translations cannot share a table: they differ in {key}: {', '.join(sorted(values))}"
            )


def _costs(records: Mapping[str, Sequence[RunRecord]]) -> Table:
    """A line for each variant: what it is, and what a run of it took."""
    rows = []
    for variant, of_it in records.items():
        first = of_it[0]
        hours = statistics.median(record.throughput.seconds for record in of_it) / 3600
        speed = statistics.median(record.throughput.tokens_per_second for record in of_it)
        final = first.final or {}
        rows.append(
            {
                "model": variant,
                "parameters": f"{first.parameters['total']:,}",
                "without tables": f"{first.parameters['without_tables']:,}",
                "MFLOPs a token": f"{first.flops_per_token / 1e6:.1f}",
                "tokens/s": f"{speed:,.0f}",
                "hours": f"{hours:.2f}",
                "epochs": f"{final.get('epoch', 0):.3g}",
                "learning rate": f"{first.config['optim']['lr']:g}",
            }
        )
    notes = ["Tokens are those of translations, <eos> counted; FLOPs of a training step (matrix products) per token."]
    return Table("What training cost", rows, ("model",), notes)
