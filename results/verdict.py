"""What a claim is, what may be said of it, and the records that it is judged from.

A verdict comes from records of the claim's own protocol alone: the runs of the profile `paper` of its sweep, on its
corpus by content, all seeds. What other runs say to the same question stands apart, as the nearest of ours.

Statuses: `reproduced` and `not reproduced` come from such records. A difference whose interval includes zero is not
told apart: the claim was put to the test and not confirmed, so it is `not reproduced`, and `why` says that nothing
contradicts it. `not run`: records are missing. `not comparable`: the protocol of the claim is not known, or no run of
ours could follow it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.sweeps import expand, names
from data.code import DATASET, REVISION
from data.enwik8 import ENWIK8
from data.splits import SPLITS
from results.evaluations import evaluated
from results.evidence import COMMITTED, NOT_RUNS, Evidence, Run, gather
from training.record import RunRecord

STATUSES = ("reproduced", "not reproduced", "not run", "not comparable")
Records = Sequence[tuple[Path, RunRecord]]


@dataclass(frozen=True)
class Value:
    """A number as its source states it."""

    of: str
    value: float
    spread: float | None

    def __str__(self) -> str:
        text = f"{self.value:,}" if abs(self.value) >= 1000 else f"{self.value:g}"
        digits = len(text.partition(".")[2])
        return f"{self.of} {text}" + ("" if self.spread is None else f" ± {self.spread:.{digits}f}")


@dataclass(frozen=True)
class Protocol:
    """What the number is a number of, as its source states it."""

    corpus: str
    split: str
    size: str
    training: str

    def __str__(self) -> str:
        parts = [part for part in (self.corpus, self.split, self.size, self.training) if part != "none"]
        known = [part for part in parts if part != "not stated"]
        return ", ".join(known + ["the rest not stated"] * (len(known) < len(parts))) if known else "not stated"


@dataclass(frozen=True)
class Hindered:
    """Why a claim cannot be judged."""

    status: str
    because: str


@dataclass(frozen=True)
class Claim:
    """One claim; claims.yaml says what each key holds."""

    id: str
    table: str
    source: str
    states: str
    values: tuple[Value, ...]
    unit: str
    protocol: Protocol
    tolerance: float | None
    note: str
    hindered: Hindered | None
    check: "Check | None"


@dataclass(frozen=True)
class Verdict:
    """`status`: one of STATUSES; `ours`: our numbers of the claim's protocol, empty where none are; `why`: in words."""

    status: str
    ours: str
    why: str


@dataclass(frozen=True)
class Check(ABC):
    """What our records hold on the question of a claim."""

    @abstractmethod
    def nearest(self, claim: Claim, sources: "Sources") -> list[str]:
        """What runs of other protocols say to the same question, each with numbers and protocol."""


@dataclass(frozen=True)
class Judge(Check):
    """A check that can judge the claim too."""

    def fault(self, claim: Claim) -> str | None:
        """What the claim lacks for this check to judge it."""
        return None

    @abstractmethod
    def verdict(self, claim: Claim, sources: "Sources") -> Verdict:
        """What runs of the claim's own protocol say to it."""


@dataclass
class Sources:
    """The records that claims are judged from. `gathered`: evidence by (sweep, profile), of sweeps as they stand."""

    records: Records
    measured: Mapping[str, Any] = field(default_factory=dict)  # file name -> content of results/records/bench
    gathered: dict[tuple[str, str], list[Evidence]] = field(default_factory=dict)

    def own(self, claim: Claim) -> list[Run]:
        """The runs of the claim's protocol, each with its record if there is one that is of the claim's corpus."""
        runs: dict[str, Run] = {}
        for evidence in self.evidence(claim.table, "paper"):
            for run in evidence.runs:
                of_corpus = run.record is not None and is_corpus(run.record, claim.protocol.corpus)
                if of_corpus or run.label not in runs:
                    runs[run.label] = run if of_corpus else replace(run, record=None, path=None)
        return list(runs.values())

    def near(self, sweep: str) -> list[Evidence]:
        """The runs of the profile cpu, by corpus, where any are recorded."""
        return [evidence for evidence in self.evidence(sweep, "cpu") if evidence.records]

    def evidence(self, sweep: str, profile: str) -> list[Evidence]:
        if sweep not in names():
            return []
        if (sweep, profile) not in self.gathered:
            expanded = expand(sweep, profile)
            made = gather(expanded, self.records, rank=lambda record: evaluated(record, expanded.kind))
            self.gathered[sweep, profile] = made if expanded.jobs else []
        return self.gathered[sweep, profile]


def measurements(folder: Path = COMMITTED / NOT_RUNS) -> dict[str, Any]:
    """The committed measurements that are no runs, by file name. UserError for one that cannot be read."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read the measurement {path}: {error}") from None
    return found


def is_corpus(record: RunRecord, corpus: str) -> bool:
    """Whether a run was made on the corpus of a claim, by content and split, whatever it was called."""
    if corpus == "enwik8":
        split = [record.data.bytes.get(name) for name in SPLITS]
        return record.data.sha256 == ENWIK8.sha256 and split == list(ENWIK8.split)
    if corpus == "code":
        return {"dataset": DATASET, "revision": REVISION}.items() <= record.data.source.items()
    return False


def of(runs: Sequence[Run], model: str, row: str | None = None, scale: str | None = None) -> list[Run]:
    """The runs of a model. `row`: of the sweep, where it has rows at all, as its profiles may differ in that."""
    with_rows = row is not None and any(run.row for run in runs)
    return [
        run
        for run in runs
        if run.model == model
        and (not with_rows or run.row == row)
        and (scale is None or run.config.scale.name == scale)
    ]


def finals(runs: Sequence[Run]) -> dict[int, float]:
    """Final validation losses by seed, bits per byte."""
    return {run.seed: run.record.final["bits_per_byte"] for run in runs if run.record and run.record.final}


def lacking(*groups: Sequence[Run]) -> Verdict | None:
    """The verdict where a group has no run, or runs without a record: not run, with how many seeds there are."""
    counts = [sum(run.record is not None for run in group) for group in groups]
    if all(group and k == len(group) for group, k in zip(groups, counts, strict=True)):
        return None
    scales = {group[0].config.scale.name for group in groups if group}
    parts = []
    for group, k in zip(groups, counts, strict=True):
        if not group:
            return Verdict("not run", "", "the sweep has no such run")
        words = (group[0].model, group[0].row, group[0].config.scale.name if len(scales) > 1 else "")
        parts.append(f"{' '.join(dict.fromkeys(filter(None, words)))} {k} of {len(group)} seeds")
    return Verdict("not run", "", f"recorded of this protocol: {', '.join(parts)}")


def place(evidence: Evidence, runs: Sequence[Run], counted: int | None = None) -> str:
    """`enwiki2015, 250k, 4.0 M tokens, 3 seeds`: where numbers that are near a claim come from.

    `counted`: how many seeds went into the number, where not all of the runs did.
    """
    done = [run for run in runs if run.record and run.record.final]
    scales = ", ".join(dict.fromkeys(run.config.scale.name for run in done))
    tokens = max((run.record.final["tokens"] for run in done if run.record and run.record.final), default=0)
    seeds = len({run.seed for run in done}) if counted is None else counted
    return f"{evidence.corpus}, {scales}, {tokens / 1e6:.1f} M tokens, {seeds} seed{'s'[: seeds != 1]}"
