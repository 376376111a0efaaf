"""The records that claims are judged from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.errors import UserError
from configs.sweeps import expand, names
from data.code import DATASET, REVISION
from data.cuts import SPLITS
from data.enwik8 import ENWIK8
from results.claims.verdict import Verdict
from results.document import amount
from results.evidence.layer_measurements import Measurement, grouped, measurement_files, read_measurement
from results.evidence.runs import COMMITTED, NOT_RUNS, Evidence, Run, gather
from results.evidence.stored import count_stored
from training.run_record.record import RunRecord


@dataclass
class Measured:
    """The committed measurements that are no runs: outputs of results.heads; of bench.py task=layers, by protocol."""

    heads: list[list[dict[str, Any]]] = field(default_factory=list)
    layers: list[list[Measurement]] = field(default_factory=list)


@dataclass
class Sources:
    """The records that claims are judged from. `gathered`: evidence by (sweep, profile), of sweeps without
    overrides.
    """

    records: Sequence[tuple[Path, RunRecord]]
    measured: Measured = field(default_factory=Measured)
    gathered: dict[tuple[str, str], list[Evidence]] = field(default_factory=dict)

    def protocol_runs(self, sweep: str, corpus: str) -> list[Run]:
        """The runs of a claim's protocol (profile `paper` of its sweep), with those records that are of its corpus."""
        runs: dict[str, Run] = {}
        for evidence in self._evidence(sweep, "paper"):
            for run in evidence.runs:
                on_corpus = run.record is not None and is_corpus(run.record, corpus)
                if on_corpus or run.label not in runs:
                    runs[run.label] = run if on_corpus else replace(run, record=None, path=None)
        return list(runs.values())

    def cpu_evidence(self, sweep: str) -> list[Evidence]:
        """The runs of the profile cpu, by corpus, where any are recorded."""
        return [evidence for evidence in self._evidence(sweep, "cpu") if evidence.records]

    def _evidence(self, sweep: str, profile: str) -> list[Evidence]:
        if sweep not in names():
            return []
        if (sweep, profile) not in self.gathered:
            expanded = expand(sweep, profile)
            evidence = gather(expanded, self.records, rank=lambda record: count_stored(record, expanded.kind))
            self.gathered[sweep, profile] = evidence if expanded.jobs else []
        return self.gathered[sweep, profile]


def measurements() -> Measured:
    """The committed measurements that are no runs. UserError for one that cannot be read."""
    heads = []
    for path in sorted((COMMITTED / NOT_RUNS).glob("heads-*.json")):
        try:
            heads.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read the measurement {path}: {error}") from None
    return Measured(heads, grouped([read_measurement(path) for path in measurement_files(None, COMMITTED / NOT_RUNS)]))


def is_corpus(record: RunRecord, corpus: str) -> bool:
    """Whether a run was made on the corpus of a claim, by content and split, whatever it was called."""
    if corpus == "enwik8":
        split = [record.data.bytes.get(name) for name in SPLITS]
        return record.data.sha256 == ENWIK8.sha256 and split == list(ENWIK8.split)
    if corpus == "code":
        return {"dataset": DATASET, "revision": REVISION}.items() <= record.data.source.items()
    return False


def runs_of(runs: Sequence[Run], model: str, row: str | None = None) -> list[Run]:
    """The runs of a model. `row`: of the sweep, where it has rows at all, as its profiles may differ in that."""
    with_rows = row is not None and any(run.row for run in runs)
    return [run for run in runs if run.model == model and (not with_rows or run.row == row)]


def by_scale(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each scale, in the order of the sweep."""
    scales = dict.fromkeys(run.config.scale.name for run in runs)
    return {scale: [run for run in runs if run.config.scale.name == scale] for scale in scales}


def final_losses(runs: Sequence[Run]) -> dict[int, float]:
    """Final validation losses by seed, bits per byte."""
    return {run.seed: run.record.final["bits_per_byte"] for run in runs if run.record and run.record.final}


def verdict_if_missing(*groups: Sequence[Run]) -> Verdict | None:
    """The verdict where a group has no run, or runs without a record: not run, with how many seeds there are."""
    if not all(groups):
        return Verdict("not run", "", "the sweep has no such run")
    counts = [sum(run.record is not None for run in group) for group in groups]
    if all(count == len(group) for group, count in zip(groups, counts, strict=True)):
        return None
    scales = {group[0].config.scale.name for group in groups}
    parts = []
    for group, count in zip(groups, counts, strict=True):
        words = (group[0].model, group[0].row, group[0].config.scale.name if len(scales) > 1 else "")
        parts.append(f"{' '.join(dict.fromkeys(filter(None, words)))} {count} of {counted(len(group), 'seed')}")
    return Verdict("not run", "", f"recorded of this protocol: {', '.join(parts)}")


def where_from(evidence: Evidence, runs: Sequence[Run], start: bool = False) -> str:
    """`enwiki2015, 250k, 4.0 M tokens, 3 seeds`: where numbers that are near a claim come from. `start`: of step 0."""
    scales = ", ".join(by_scale(runs))
    tokens = max((run.record.final["tokens"] for run in runs if run.record and run.record.final), default=0)
    seeds = len({run.seed for run in runs})
    length = "at the start" if start else f"{amount(tokens, 1)} tokens"
    return f"{evidence.corpus}, {scales}, {length}, {counted(seeds, 'seed')}"
