"""A paper table or figure from run records: `python -m results.target table-fsn-enwik8 [profile=cpu] [key=value ...]`.

Without a profile it is made from the records there are, here and in results/records, for the profiles cpu and paper.
With one, the runs of that profile whose record is not there are trained first (train=false: not). What a sweep may be
asked, data=text data.path=FILE for example, may be typed behind it. A few targets are of a benchmark and train nothing:
a profile measures, and keys of bench.py may be typed behind it.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from configs.compose import compose
from configs.entry import fail, reader_left
from configs.errors import UserError
from configs.strict import illegal_value
from configs.sweeps import PROFILES, Request, expand, names, requested
from data.sources import open_corpus
from results import layer_cost
from results.claims import table_for
from results.document import Document, Table
from results.evaluations import TASKS, evaluate_missing, evaluated
from results.evidence import COMMITTED, Evidence, gather, read_records
from results.kinds import build
from results.layer_measurements import measure
from results.verdict import Sources, measurements
from training.record import RunRecord
from training.sweep import conduct

SHOWN = ("cpu", "paper")  # a smoke profile's numbers mean nothing
FIGURES = ("copy-depth", "coupling")  # sweeps that are a figure first
BENCHMARKS = ("ssa-cost",)  # no sweeps: what their tables show is measured by bench.py
OWN = Path("docs/tables")  # what committed records give
USERS = Path("runs/tables")  # what a profile gives


@dataclass
class Asked:
    """What a command line asks. `overrides`: of every run."""

    sweep: str  # or benchmark
    profile: str | None = None
    train: bool = True
    output: Path | None = None
    overrides: list[str] = field(default_factory=list)
    launcher: list[str] = field(default_factory=list)  # as a sweep takes it
    retry_failed: bool = False

    @property
    def runs(self) -> Path:
        """The folder of the run directories."""
        given = [text.partition("=")[2] for text in self.overrides if text.startswith("runs=")]
        return Path(given[-1] if given else "runs")

    @property
    def settings(self) -> list[str]:
        """The overrides of what is run, not of where it lies."""
        return [text for text in self.overrides if not text.startswith("runs=")]

    @property
    def benches(self) -> Path:
        """The folder of what a profile measures."""
        return self.runs / "bench"


def targets() -> list[str]:
    """All tables and figures: table-fsn-enwik8, ..."""
    return [f"{'figure' if name in FIGURES else 'table'}-{name}" for name in [*names(), *BENCHMARKS]]


def title(name: str) -> str:
    """The title of a sweep's or a benchmark's document."""
    return layer_cost.TITLE if name in BENCHMARKS else expand(name).title


def parse(arguments: Sequence[str]) -> Asked:
    """What the arguments ask. Raises UserError for an unknown target or value."""
    if not arguments or "=" in arguments[0]:
        raise UserError(f"which table? type one of {', '.join(targets())}")
    target, *rest = arguments
    if target not in targets():
        nearest = get_close_matches(target, targets(), 1)
        hint = f"; type {nearest[0]}" if nearest else ""
        raise UserError(f"there is no target {target}: legal are {', '.join(targets())}{hint}")
    asked = Asked(target.partition("-")[2])
    for text in rest:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text}: a table takes key=value alone, for example profile=smoke")
        if key == "profile":
            if value not in PROFILES:
                raise illegal_value(key, value, PROFILES)
            asked.profile = value
        elif key == "train":
            if value not in ("true", "false"):
                raise illegal_value(key, value, ("true", "false"))
            asked.train = value == "true"
        elif key == "output":
            asked.output = Path(value)
        elif key in ("status", "plan"):
            raise UserError(f"{text}: is for the sweep; type python train.py +sweeps={asked.sweep} {text}")
        else:
            asked.overrides.append(text)
    if asked.sweep not in BENCHMARKS and (request := requested([f"+sweeps={asked.sweep}", *asked.overrides])):
        asked.overrides, asked.launcher, asked.retry_failed = request.overrides, request.launcher, request.retry_failed
    if asked.sweep in BENCHMARKS and asked.settings and not (asked.profile and asked.train):
        without = "with train=false" if asked.profile else "without a profile"
        raise UserError(f"{asked.settings[0]}: nothing is measured {without}; leave it out or type profile=cpu alone")
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 when a run failed: the table is made without it."""
    asked = parse(sys.argv[1:] if arguments is None else arguments)
    code = make_runs(asked) if asked.profile is not None and asked.train else 0
    document = make(asked)
    folder = asked.output or (OWN if asked.profile is None else USERS)
    files = document.write(folder)
    print("\n" + document.markdown())
    print("written: " + ", ".join(str(file) for file in files))
    return code


def make(asked: Asked) -> Document:
    """The document, its figures written. Raises UserError for runs that cannot stand in one table."""
    folder = asked.output or (OWN if asked.profile is None else USERS)
    if asked.sweep in BENCHMARKS:
        document = layer_cost.make(asked.profile, asked.benches, folder)
        return _with_claims(document, asked, Sources([], measurements()))
    records, damaged = read_records([asked.runs, COMMITTED])
    document = Document(asked.sweep, expand(asked.sweep, "cpu", asked.overrides).title)
    sources = Sources(records, measurements())
    for profile in SHOWN if asked.profile is None else (asked.profile,):
        sweep = expand(asked.sweep, profile, asked.overrides)
        if not sweep.jobs:
            continue  # all of its rows are for later
        sha256 = _corpus_asked(asked, sweep.jobs[0].overrides)
        gathered = gather(sweep, records, damaged, sha256, _rank(sweep.kind))
        if all(text.startswith("runs=") for text in asked.overrides):
            sources.gathered[asked.sweep, profile] = gathered  # claims are judged from the sweep as it stands alone
        for evidence in gathered:
            stem = f"{asked.sweep}-{profile}-{evidence.corpus}"
            before = len(document.tables)
            build(evidence, document, folder, stem)
            scales = list(dict.fromkeys(run.config.scale.name for run in evidence.runs))
            for table in document.tables[before:]:
                table.title = f"{evidence.corpus}, {' '.join(scales)}, profile {profile}: {table.title}"
            document.notes += _provenance(evidence, profile)
            document.runs += evidence.runs
    if waiting := expand(asked.sweep, "cpu").later:
        rows = [{"row": row, "value": "not run", "waits for": reason} for row, reason in waiting.items()]
        document.tables.append(Table("What cannot be run yet", rows, ("row", "waits for")))
    document.notes += [f"Left out, for it cannot be read: {reason}." for reason in damaged]
    return _with_claims(document, asked, sources)


def _with_claims(document: Document, asked: Asked, sources: Sources) -> Document:
    if asked.profile != "smoke" and (claimed := table_for(asked.sweep, sources)):
        document.tables.append(claimed)
    return document


def make_runs(asked: Asked) -> int:
    """Train and evaluate, or measure, what the profile lacks; the exit code of the sweep."""
    assert asked.profile is not None
    if asked.sweep in BENCHMARKS:
        measure(asked.profile, asked.benches, asked.settings)
        return 0
    sweep = expand(asked.sweep, asked.profile, asked.overrides)
    if not sweep.jobs:
        return 0
    sha256 = open_corpus(compose("train", sweep.jobs[0].overrides).data).sha256
    rank = _rank(sweep.kind)
    evidence = gather(sweep, read_records([asked.runs, COMMITTED])[0], (), sha256, rank)[0]
    recorded = {
        run.label: run.path
        for run in evidence.runs
        if run.record and run.path and evaluated(run.record, sweep.kind) == len(TASKS.get(sweep.kind, ()))
    }
    request = Request(asked.sweep, asked.profile, False, asked.retry_failed, False, asked.overrides, asked.launcher)
    code = conduct(request, recorded)
    if sweep.kind in TASKS:
        evidence = gather(sweep, read_records([asked.runs])[0], (), sha256, rank)[0]
        missing = [run for run in evidence.runs if run.label not in recorded]
        evaluate_missing(missing, sweep.kind, smoke=asked.profile == "smoke")
    return code


def _rank(kind: str) -> Callable[[RunRecord], int]:
    return lambda record: evaluated(record, kind)


def _corpus_asked(asked: Asked, overrides: Sequence[str]) -> str | None:
    """The SHA-256 of the corpus that a command line names, None when it names none."""
    if not any(text.partition("=")[0] in ("data", "data.path", "data.source") for text in asked.overrides):
        return None
    return open_corpus(compose("train", overrides).data).sha256


def _provenance(evidence: Evidence, profile: str) -> list[str]:
    """How the numbers of one section were made."""
    head = f"{evidence.corpus}, profile {profile}: "
    command = f"`python train.py +sweeps={evidence.sweep.name} profile={profile}`"
    records = evidence.records
    if not records:
        return [head + f"no run is recorded; {command} makes them."]
    corpora = sorted({f"SHA-256 {record.data.sha256[:16]}..." for record in records})
    commits = sorted({(record.git.commit or "no git")[:7] for record in records})
    devices = sorted({f"{record.device.count} {record.device.kind} ({record.device.name})" for record in records})
    seconds = sum(record.throughput.seconds for record in records)
    return [
        head + f"{len(records)} of {len(evidence.runs)} runs, {seconds / 3600:.1f} hours of training on "
        f"{', '.join(devices)}; data {', '.join(corpora)}; commits {', '.join(commits)}; made by {command}."
    ]


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except UserError as error:
        fail(error)
    except BrokenPipeError:
        reader_left()
