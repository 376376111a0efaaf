"""Which records a table is made of: those of the runs that its sweep asks for, wherever they lie.

A run is known by what it was set to do, not by its name or config hash: a record from before a config key existed is
still the record of that run. Where it ran and in how many threads makes no other run of it; a table has a footnote
where that differs among its rows. A corpus is known by its content: two that have one name are two sections.
"""

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.compose import config_dict
from configs.counted import counted
from configs.errors import UserError
from configs.schema import DataConfig, RunConfig
from configs.sweeps import Job, Sweep
from results.evidence.settings import CIRCUMSTANCES, settings_of
from training.run_record.record import RunRecord, load_record
from training.sweeps.swept_run import configured_jobs, label_of

COMMITTED = Path(__file__).parents[1] / "records"
NOT_RUNS = "bench"  # of the folders in it: measurements of another form
SET_ASIDE = re.compile(r".*-old-\d+")  # run directories that overwrite=true has replaced
OWN_TEXT = ("text", "text27")  # sources of corpora that are users' own: any sweep may have been run on one
# Circumstances that change numbers a little: a run that is asked for with one of them is another run.
PRECISE = ("precision", "compile", "ssa.backend", "trainer.micro_batch_size")
# Axes that a kind of table has columns or rows for, besides model and seed. Each value of another is a section.
AXES = {"rates": ("optim.lr",), "scale": ("scale",)}
BY_ROW = ("finals", "synchrony")  # kinds that have one place for a row of the sweep, whatever its model
# Settings that say what a run's numbers are numbers of: a record that differs in them alone is named.
PROTOCOL_KEYS = (
    *("data.raw", "data.tokenizer", "data.vocabulary", "data.context", "data.split"),
    *("trainer.val_bytes", "trainer.last_val_bytes"),
)
LONGEST_NAME = 80  # characters of a corpus' name in the name of a file
FEW = 4  # runs that a note names; of the others it has the number

RecordFile = tuple[Path, RunRecord]


@dataclass(frozen=True)
class Run:
    """A run that a table asks for, and its record if it is done. `row`: of the sweep; `label`: all its axes;
    `failure`: why there is no record, where one tells; `other`: the record of another protocol, and how that differs.
    """

    row: str
    label: str
    config: RunConfig
    record: RunRecord | None = None
    path: Path | None = None
    failure: str | None = None
    failed: bool = False  # it came to an end of its own; else it was interrupted, or is running
    other: str | None = None

    @property
    def model(self) -> str:
        return str(self.config.model.name)

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def variant(self) -> str:
        """Its row in the sweep, or its model where the sweep has no rows."""
        return self.row or self.model


@dataclass
class Evidence:
    """The runs of a sweep in one profile, on one corpus, all alike apart from what the table has a place for.

    `corpus`: its name, with the beginning of its SHA-256 where several have that name; `setting`: what else tells this
    part of the sweep from others, `optim.lr=0.006`, or nothing.
    """

    sweep: Sweep
    corpus: str
    runs: list[Run]
    damaged: list[str] = field(default_factory=list)  # records that could not be read, and why
    setting: str = ""

    @property
    def records(self) -> list[RunRecord]:
        return [run.record for run in self.runs if run.record is not None]

    @property
    def finals(self) -> list[tuple[Run, RunRecord, dict[str, Any]]]:
        """The runs that are done, each with its record and its last validation row."""
        return [(run, run.record, run.record.final) for run in self.runs if run.record and run.record.final]

    @property
    def slug(self) -> str:
        """The corpus' name as part of a file's."""
        return _file_name(self.corpus)

    @property
    def stem(self) -> str:
        """How the names of its figures begin."""
        setting = [_file_name(self.setting)] if self.setting else []
        return "-".join([self.sweep.name, self.sweep.profile, self.slug, *setting])

    def shortfall(self, runs: Sequence[Run] | None = None) -> list[str]:
        """Notes on those of the runs (default: all) that have no record: missing, recorded in another protocol, or
        failed with their error.
        """
        runs = self.runs if runs is None else runs
        missing = [run.label for run in runs if run.record is None and run.failure is None]
        failed = [f"{run.label} ({run.failure})" for run in runs if run.record is None and run.failure is not None]
        all_runs = counted(len(runs), "run")
        notes = [f"{len(missing)} of {all_runs} {_are(missing)} missing: {few(missing)}."] if missing else []
        if others := [f"{run.label} ({run.other})" for run in runs if run.record is None and run.other]:
            told = f"Of these {len(others)} {_are(others)} recorded in another protocol"
            notes.append(f"{told}, and {_are(others)} left out here: {few(others)}.")
        return notes + ([f"{len(failed)} of {all_runs} did not end: {few(failed)}."] if failed else [])


def _are(runs: Sequence[object]) -> str:
    return "is" if len(runs) == 1 else "are"


def few(labels: Sequence[str]) -> str:
    """The first labels, and how many more there are."""
    return ", ".join(labels[:FEW]) + (f" and {len(labels) - FEW} more" if len(labels) > FEW else "")


def _file_name(text: str) -> str:
    """A part of a file's name: no separator of folders, and of a length that every file system takes."""
    name = re.sub(r"[^\w.=-]+", "-", text, flags=re.ASCII).strip("-.")
    return (
        name
        if len(name) <= LONGEST_NAME
        else f"{name[:LONGEST_NAME]}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
    )


def read_records(folders: Sequence[Path]) -> tuple[list[RecordFile], list[str]]:
    """The records below the folders (record.json of runs, or any .json of `COMMITTED`), and those that are damaged."""
    found = [_committed() if folder == COMMITTED else _read(folder, "record.json") for folder in folders]
    return [one for records, _ in found for one in records], [one for _, damaged in found for one in damaged]


@functools.cache  # no process writes there, and several targets read it
def _committed() -> tuple[list[RecordFile], list[str]]:
    return _read(COMMITTED, "*.json")


def _read(folder: Path, pattern: str) -> tuple[list[RecordFile], list[str]]:
    records, damaged = [], []
    for path in sorted(folder.rglob(pattern)):
        inside = path.relative_to(folder).parts
        if (folder == COMMITTED and inside[0] == NOT_RUNS) or any(map(SET_ASIDE.fullmatch, inside[:-1])):
            continue
        try:
            record = load_record(path)
            settings_of(record.config)
            records.append((path, record))
        except UserError as error:
            damaged.append(str(error))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            damaged.append(f"{path} is not a run record: its config is of no run ({type(error).__name__}: {error})")
    return records, damaged


def gather(
    sweep: Sweep,
    records: Sequence[RecordFile],
    damaged: Sequence[str] = (),
    corpus: Callable[[DataConfig], str | None] | None = None,
    rank: Callable[[RunRecord], Any] | None = None,
) -> list[Evidence]:
    """The evidence for a sweep: a part for each corpus, and each value of an axis that the table has no place for.

    `corpus`: the SHA-256 of the only corpus to take for runs with this data. Without it runs on the sweep's own corpus
    and on users' text count, on its own alone where the sweep says so. A part without any run is listed once, with all
    runs missing. Of several records of one run that is done the one with the highest `rank` is taken, then the newest.
    """
    parts: dict[str, list[tuple[Job, RunConfig]]] = {}
    for job, config in configured_jobs(sweep.jobs):
        parts.setdefault(_setting(sweep, job), []).append((job, config))
    taken: dict[str, dict[str, list[RecordFile]]] = {}  # setting -> identity of a run
    others: dict[str, str] = {}  # identity of a run that has no record -> one of another protocol
    for setting, wanted in parts.items():
        own = wanted[0][1].data
        only = corpus(own) if corpus else None
        sources = {own.source} if sweep.own_corpus else {own.source, *OWN_TEXT}
        typed = typed_precisely(wanted[0][0])
        of_part: dict[str, list[RecordFile]] = {
            identity(config_dict(config), config.seed, typed): [] for _, config in wanted
        }

        def admits(record: RunRecord, only: str | None = only, sources: set[str] = sources) -> bool:
            of_corpus = record.data.sha256 == only if only else record.config["data"].get("source") in sources
            return of_corpus and not cut_by_epochs(record)

        for place, record in records:
            if admits(record) and (key := identity(record.config, record.seed, typed)) in of_part:
                of_part[key].append((place, record))
        taken[setting] = of_part
        others |= _of_other_protocols(wanted, [one for one in records if admits(one[1])], of_part, typed)
    called = _names([record for of_part in taken.values() for of_run in of_part.values() for _, record in of_run])
    evidence = []
    for setting, wanted in parts.items():
        every = [one for of_run in taken[setting].values() for one in of_run]
        for sha256 in sorted({record.data.sha256 for _, record in every}, key=lambda each: called[each]) or [""]:
            runs = []
            for job, config in wanted:
                key = identity(config_dict(config), config.seed, typed_precisely(job))
                here = [one for one in taken[setting][key] if one[1].data.sha256 == sha256]
                run = _run(job.row, label_of(job, sweep.axes), config, here, rank)
                runs.append(replace(run, other=others.get(key)))
            name = called.get(sha256, wanted[0][1].data.name)
            evidence.append(Evidence(sweep, name, runs, list(damaged), setting))
    return evidence


def cut_by_epochs(record: RunRecord) -> bool:
    """Whether it is of older code, for which trainer.max_epochs could end a run before trainer.max_steps."""
    steps = record.config.get("trainer", {}).get("max_steps")
    return record.final is not None and steps is not None and int(record.final["step"]) < steps


def _of_other_protocols(
    wanted: Sequence[tuple[Job, RunConfig]],
    records: Sequence[RecordFile],
    of_part: Mapping[str, Sequence[RecordFile]],
    typed: Sequence[str],
) -> dict[str, str]:
    """For runs without a record, by identity: a record that differs in `PROTOCOL_KEYS` alone, and how."""
    lacking: dict[str, tuple[str, dict[str, Any]]] = {}
    for _, config in wanted:
        ours = config_dict(config)
        if not of_part[key := identity(ours, config.seed, typed)]:
            lacking[identity(ours, config.seed, typed, PROTOCOL_KEYS)] = key, settings_of(ours)
    others = {}
    for place, record in records if lacking else ():
        key, ours = lacking.get(identity(record.config, record.seed, typed, PROTOCOL_KEYS), ("", {}))
        if key and record.status == "done":
            theirs = settings_of(record.config)
            differ = [name for name in PROTOCOL_KEYS if theirs.get(name) != ours.get(name)]
            how = ", ".join(f"{name} {theirs.get(name)} instead of {ours.get(name)}" for name in differ)
            others[key] = f"{how}: {place.parent.name}/{place.name}"
    return others


def _setting(sweep: Sweep, job: Job) -> str:
    """Its value on each axis that its kind of table has no place for."""
    places = {"seed", *AXES.get(sweep.kind, ())}
    if not (job.row and sweep.kind in BY_ROW):
        places.add("model")
    given = dict(text.split("=", 1) for text in job.overrides)
    # The last part of a path alone: where a file lies is private.
    values = {axis: Path(value.strip("'\"")).name if axis == "data.path" else value for axis, value in given.items()}
    return " ".join(f"{axis}={values[axis]}" for axis in sweep.axes if axis not in places)


def _names(records: Sequence[RunRecord]) -> dict[str, str]:
    """By SHA-256, the name of a corpus: that of most of its records, with the start of the SHA-256 where two corpora
    have that name or none was given.
    """
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(record.data.sha256, Counter())[record.data.name] += 1
    names = {sha256: max(sorted(of), key=lambda name: of[name]) for sha256, of in counts.items()}
    many = Counter(names.values())
    clear = {name for name, n in many.items() if n == 1 and name not in OWN_TEXT}
    return {sha256: name if name in clear else f"{name} ({sha256[:8]})" for sha256, name in names.items()}


def _run(
    row: str, label: str, config: RunConfig, records: Sequence[RecordFile], rank: Callable[[RunRecord], Any] | None
) -> Run:
    def order(one: RecordFile) -> tuple[Any, ...]:
        record = one[1]
        return rank(record) if rank else 0, record.finished or record.started

    if done := [one for one in records if one[1].status == "done"]:
        path, record = max(done, key=order)
        return Run(row, label, config, record, path)
    if not records:
        return Run(row, label, config)
    last = max(records, key=order)[1]
    steps = max((int(each["step"]) for each in last.metrics), default=0)
    failure = last.error or f"{last.status} at step {steps:,}"
    return Run(row, label, config, failure=failure, failed=last.status == "failed")


def typed_precisely(job: Job) -> tuple[str, ...]:
    """The keys of `PRECISE` that a run is asked for with."""
    given = {text.partition("=")[0] for text in job.overrides}
    return tuple(key for key in PRECISE if key in given)


def identity(config: dict[str, Any], seed: int, typed: Sequence[str] = (), but: Sequence[str] = ()) -> str:
    """What a run was set to do, as text: equal for two runs that must end alike on the same data, up to rounding.

    `typed`: circumstances that make two runs different after all; `but`: settings to ignore.
    """
    settings = {
        key: value
        for key, value in settings_of(config).items()
        if key not in but and (key not in CIRCUMSTANCES or key in typed)
    }
    return json.dumps({**settings, "seed": seed}, sort_keys=True, default=str)
