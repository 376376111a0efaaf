"""Which records a table is made of: those of the runs that its sweep asks for, wherever they lie.

A run is known by what it was set to do, not by its name or config hash: a record from before a config key existed is
still the record of that run. Where it ran, in how many threads and under which name the corpus lay does not tell runs
apart; a table has a footnote where that differs among its rows.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.compose import config_dict
from configs.errors import UserError
from configs.schema import RunConfig
from configs.sweeps import Sweep
from results.tables import CIRCUMSTANCES, settings_of
from training.record import RunRecord, load
from training.sweep import configured, label_of

COMMITTED = Path(__file__).parent / "records"
NOT_RUNS = "bench"  # of the folders in it: measurements of another form


@dataclass(frozen=True)
class Run:
    """A run that a table asks for, and its record if there is one. `row`: of the sweep; `label`: all its axes."""

    row: str
    label: str
    config: RunConfig
    record: RunRecord | None = None
    path: Path | None = None

    @property
    def model(self) -> str:
        return str(self.config.model.name)

    @property
    def seed(self) -> int:
        return self.config.seed


@dataclass
class Evidence:
    """The runs of a sweep in one profile, on one corpus."""

    sweep: Sweep
    corpus: str
    runs: list[Run]
    damaged: list[str] = field(default_factory=list)  # records that could not be read, and why

    @property
    def records(self) -> list[RunRecord]:
        return [run.record for run in self.runs if run.record is not None]


def read_records(folders: Sequence[Path]) -> tuple[list[tuple[Path, RunRecord]], list[str]]:
    """The records below the folders (record.json of runs, or any .json of `COMMITTED`), and those that are damaged."""
    found, damaged = [], []
    for folder in folders:
        pattern = "*.json" if folder == COMMITTED else "record.json"
        for path in sorted(folder.rglob(pattern)):
            if folder == COMMITTED and path.relative_to(folder).parts[0] == NOT_RUNS:
                continue
            try:
                found.append((path, load(path)))
            except UserError as error:
                damaged.append(str(error))
    return found, damaged


def gather(
    sweep: Sweep,
    records: Sequence[tuple[Path, RunRecord]],
    damaged: Sequence[str] = (),
    sha256: str | None = None,
    rank: Callable[[RunRecord], Any] | None = None,
) -> list[Evidence]:
    """The evidence for a sweep, by corpus; when no run of it was made, one entry in which all are missing.

    `sha256`: only that of this corpus. Of several records of one run that is done the one with the highest `rank` is
    taken, then the newest.
    """
    wanted = [(job, label_of(job, sweep.axes), config) for job, config in configured(sweep.jobs)]
    keys = [_identity(config_dict(config), config.seed) for _, _, config in wanted]
    by_key: dict[str, list[tuple[Path, RunRecord]]] = {key: [] for key in keys}
    for place, candidate in records:
        if sha256 not in (None, candidate.data.sha256) or not isinstance(candidate.config.get("model"), dict):
            continue
        key = _identity(candidate.config, candidate.seed)
        if key in by_key:
            by_key[key].append((place, candidate))

    def order(found: tuple[Path, RunRecord]) -> tuple[Any, ...]:
        record = found[1]
        return rank(record) if rank else 0, record.finished or record.started

    corpora = sorted({record.data.name for found in by_key.values() for _, record in found})
    evidence = []
    for corpus in corpora or [wanted[0][2].data.name if wanted else ""]:
        runs = []
        for (job, label, config), key in zip(wanted, keys, strict=True):
            of_corpus = [found for found in by_key[key] if found[1].data.name == corpus]
            done = [found for found in of_corpus if found[1].status == "done"]
            path, record = max(done, key=order) if done else (None, None)
            runs.append(Run(job.row, label, config, record, path))
        evidence.append(Evidence(sweep, corpus, runs, list(damaged)))
    return evidence


def _identity(config: dict[str, Any], seed: int) -> str:
    """What a run was set to do, as text: equal for two runs that must end alike on the same data."""
    settings = {key: value for key, value in settings_of(config).items() if key not in CIRCUMSTANCES}
    return json.dumps({**settings, "seed": seed}, sort_keys=True, default=str)
