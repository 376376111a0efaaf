"""A paper table or figure from run records: `python -m results.target table-fsn-enwik8 [profile=cpu] [key=value ...]`.

Alone it is made from the committed records, results/records, for the profiles cpu and paper, into docs/tables. With a
profile, the runs of that profile whose record is neither there nor in runs are trained first (train=false: not), and
the table lies in runs/tables. The keys of a sweep, data=text data.path=FILE for example, may follow,
also without a profile. A few targets are of a benchmark and train nothing: a profile measures, and keys of bench.py may
follow.
"""

import functools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.command import end_with
from configs.compose import compose
from configs.counted import counted
from configs.errors import UserError
from configs.paths import expanded
from configs.printable import in_one_line
from configs.schema import data_class
from configs.search import SweeperConfig
from configs.strict import illegal_value
from configs.sweeps import PROFILES, Request, Sweep, expand, label_of, names, requested
from configs.text_values import quoted
from data.sources import open_data
from results.document import Document
from results.evidence.runs import COMMITTED, Evidence, Run, read_records
from results.evidence.stored import TASKS, count_stored
from training.run_record.record import RunRecord

# What makes tables needs torch, which takes seconds to load: it is imported once the arguments are right.
if TYPE_CHECKING:
    from results.claims.sources import Sources

SHOWN = ("cpu", "paper")  # a smoke profile's numbers mean nothing
FIGURES = ("copy-depth", "coupling")  # sweeps that are a figure first
BENCHMARKS = ("ssa-cost",)  # no sweeps: what their tables show is measured by bench.py
OWN = Path("docs/tables")  # what committed records give
USERS = Path("runs/tables")  # what a profile gives, or runs of one's own


@dataclass
class Asked:
    """What a command line asks. `overrides`: of every run."""

    sweep: str  # or benchmark
    profile: str | None = None
    train: bool = True
    output: Path | None = None
    overrides: list[str] = field(default_factory=list)
    launcher: list[str] = field(default_factory=list)  # as a sweep takes it
    sweeper: SweeperConfig = field(default_factory=SweeperConfig)
    retry_failed: bool = False

    @property
    def runs(self) -> Path:
        """The folder of the run directories."""
        given = [text for text in self.overrides if text.startswith("runs=")]
        return Path(compose("train", given[-1:]).runs if given else "runs")

    @property
    def settings(self) -> list[str]:
        """The overrides of what is run, not of where it lies."""
        return [text for text in self.overrides if not text.startswith("runs=")]

    @property
    def names_corpus(self) -> bool:
        """Whether a corpus is typed: then runs on it alone count."""
        return any(text.partition("=")[0] in ("data", "data.path", "data.source") for text in self.settings)

    @property
    def sources(self) -> list[Path]:
        """Where records are looked for. A target typed alone is made from the committed records, which all readers
        have.
        """
        alone = self.profile is None and not self.overrides
        return [COMMITTED] if alone else [self.runs, COMMITTED]

    @property
    def folder(self) -> Path:
        """Where the files go."""
        if self.output is not None:
            return self.output
        if self.profile is None and not self.overrides:
            return OWN
        return USERS / (self.profile or "recorded")

    @property
    def without(self) -> str:
        """Why nothing is run, and what to type."""
        if not self.train:
            return "with train=false; leave out one of them" + ("" if self.profile else " and type profile=cpu")
        return "without a profile; leave it out or type profile=cpu too"

    @property
    def benches(self) -> Path:
        """The folder of what a profile measures."""
        return self.runs / "bench"


def targets() -> list[str]:
    """All tables and figures: table-fsn-enwik8, ..."""
    return [f"{'figure' if name in FIGURES else 'table'}-{name}" for name in [*names(), *BENCHMARKS]]


def title(name: str) -> str:
    """The title of a sweep's or a benchmark's document."""
    from results.tables import layer_cost

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
            asked.output = Path(expanded(value, "output"))
        elif key in ("status", "plan") and asked.sweep in BENCHMARKS:
            raise UserError(f"{text}: is for a sweep, and {target} is of a benchmark; leave it out")
        elif key in ("status", "plan"):
            raise UserError(f"{text}: is for the sweep; type python train.py +sweeps={asked.sweep} {text}")
        else:
            asked.overrides.append(_literally(key, value) if key in ("data.path", "data.name") else text)
    if asked.sweep not in BENCHMARKS and (request := requested([f"+sweeps={asked.sweep}", *asked.overrides])):
        asked.overrides, asked.launcher, asked.retry_failed = request.overrides, request.launcher, request.retry_failed
        asked.sweeper = request.sweeper
        if asked.sweeper.name != "grid" and not (asked.profile and asked.train):
            raise UserError(f"sweeper={asked.sweeper.name}: nothing is searched {asked.without}")
    if asked.sweep in BENCHMARKS and asked.settings and not (asked.profile and asked.train):
        raise UserError(f"{asked.settings[0]}: nothing is measured {asked.without}")
    return asked


def _literally(key: str, value: str) -> str:
    """A file or a name as it is typed, with spaces, brackets and quotes; what is in quotes is Hydra's already."""
    several = key == "data.path" and "," in value and not Path(value).exists()
    return f"{key}={value}" if several or value[:1] in ("'", '"') else quoted(key, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 when a run failed or a record cannot be read: the table is made without it."""
    asked = parse(sys.argv[1:] if arguments is None else arguments)
    code = make_runs(asked) if asked.profile is not None and asked.train else 0
    document = make_document(asked)
    files = document.write(asked.folder)
    print("\n" + document.markdown())
    print("written: " + ", ".join(str(file) for file in files))
    return code or name_left_out(document.left_out)


def name_left_out(damaged: Sequence[str]) -> int:
    """Name on stderr the records that could not be read; the exit code: 1 where there are any."""
    for reason in damaged:
        print(in_one_line(f"left out, because it cannot be read: {reason}"), file=sys.stderr)
    return int(bool(damaged))


def make_document(asked: Asked) -> Document:
    """The document, its figures written. Raises UserError for runs that cannot share a table."""
    from results.claims.sources import Sources, measurements
    from results.tables import layer_cost
    from results.tables.kinds import add_tables, gather_for

    folder = asked.folder
    if asked.sweep in BENCHMARKS:
        document = layer_cost.layer_cost_document(asked.profile, asked.benches, folder)
        return _with_claims(document, asked, Sources(read_records([COMMITTED])[0], measurements()))
    if asked.profile is None and asked.settings != asked.overrides and not asked.runs.is_dir():
        raise UserError(f"there is no folder {asked.runs} with runs; type another runs=FOLDER, or leave it out")
    records, damaged = read_records(asked.sources)
    document = Document(asked.sweep, expand(asked.sweep, "cpu", asked.settings).title)
    sources = Sources(records, measurements())
    for profile in SHOWN if asked.profile is None else (asked.profile,):
        sweep = expand(asked.sweep, profile, asked.settings)
        corpus = _corpus if asked.names_corpus else None
        gathered = gather_for(sweep, records, damaged, corpus, _rank(sweep))
        if asked.names_corpus:  # beside that of another corpus, not in its place
            document.name = "-".join([asked.sweep, "on", *dict.fromkeys(evidence.slug for evidence in gathered)])
        if not asked.settings:
            sources.gathered[asked.sweep, profile] = gathered  # claims are judged from the sweep without overrides
        for evidence in gathered:
            before = len(document.tables)
            add_tables(evidence, document, folder, evidence.stem)
            scales = list(dict.fromkeys(run.config.scale.name for run in evidence.runs))
            parts = (evidence.corpus, " ".join(scales), f"profile {profile}", evidence.setting)
            section = ", ".join(filter(None, parts))
            for table in document.tables[before:]:
                table.title = f"{section}: {table.title}"
                table.data = [{**_section(evidence), **row} for row in table.data]
                table.recorded = bool(evidence.records)
            command = _command(evidence, asked.settings)
            document.not_run += [] if evidence.records else [(section, command)]
            document.notes += _provenance(evidence, section, command)
            document.runs += evidence.runs
    document.left_out = damaged
    document.notes += [f"Left out, because it cannot be read: {reason}." for reason in damaged]
    return _with_claims(document, asked, sources)


def _section(evidence: Evidence) -> dict[str, str]:
    """What all numbers of a section share, for those who compute with them."""
    data = evidence.records[0].data
    section = {"corpus": data.name, "sha256": data.sha256, "profile": evidence.sweep.profile}
    return section | {"scale": evidence.runs[0].config.scale.name, "setting": evidence.setting}


def _with_claims(document: Document, asked: Asked, sources: "Sources") -> Document:
    from results.claims.table import claims_table

    if asked.profile != "smoke" and (claimed := claims_table(asked.sweep, sources)):
        document.tables.append(claimed)
    return document


def make_runs(asked: Asked) -> int:
    """Train and evaluate, or measure, what the profile lacks; exit code 1 where a run or an evaluation failed."""
    from results.evaluate.missing import evaluate_missing
    from results.evidence.layer_measurements import measure_layer_cost
    from results.tables.kinds import gather_for
    from training.sweeps.sweep import conduct

    assert asked.profile is not None
    if asked.sweep in BENCHMARKS:
        measure_layer_cost(asked.profile, asked.benches, asked.settings)
        return 0
    sweep = expand(asked.sweep, asked.profile, asked.overrides)

    def runs(*folders: Path) -> list[Run]:
        return [run for e in gather_for(sweep, read_records(folders)[0], (), _corpus, _rank(sweep)) for run in e.runs]

    recorded = {
        run.label: run.path
        for run in runs(asked.runs, COMMITTED)
        if run.record and run.path and _rank(sweep)(run.record) == len(TASKS.get(sweep.kind, ()))
    }
    request = Request(
        asked.sweep, asked.profile, False, asked.retry_failed, False, asked.overrides, asked.launcher, asked.sweeper
    )
    code = conduct(request, recorded)
    if sweep.kind in TASKS:
        missing = [run for run in runs(asked.runs) if run.label not in recorded]
        moved = any(text.startswith("data.path=") for text in asked.overrides)
        failed = evaluate_missing(missing, sweep.kind, asked.profile == "smoke", moved)
        for reason in failed:
            print(in_one_line(f"not evaluated: {reason}"), file=sys.stderr)
        code = code or int(bool(failed))
    return code


def _rank(sweep: Sweep) -> Callable[[RunRecord], int]:
    return lambda record: count_stored(record, sweep.kind, sweep.profile == "smoke")


@functools.cache
def _hash(data: str) -> str:
    """The SHA-256 of the corpus of a data config, as text: opening one may read all of it."""
    values = json.loads(data)
    return open_data(data_class(values["source"])(**values)).sha256


def _corpus(data: Any) -> str:
    return _hash(json.dumps(asdict(data)))


def _command(evidence: Evidence, settings: Sequence[str]) -> str:
    """What makes the runs of one section."""
    records = evidence.records
    own = evidence.runs[0].config.data
    if records and (source := records[0].config["data"].get("source")) != own.source:
        others = [text for text in settings if not text.startswith("data.name=")]
        settings = [*others, f"data={source}", "data.path=FILE", f"data.name={records[0].data.name}"]
    settings = ["data.path=FILE" if text.startswith("data.path=") else text for text in settings]
    typed = " ".join(
        [f"+sweeps={evidence.sweep.name}", f"profile={evidence.sweep.profile}", *map(shlex.quote, settings)]
    )
    return f"python train.py {typed}"


def _provenance(evidence: Evidence, section: str, command: str) -> list[str]:
    """How the numbers of one section were made."""
    records = evidence.records
    if not records:
        return [f"{section}: no run is recorded; `{command}` makes them."]
    corpora = sorted({f"SHA-256 {record.data.sha256[:16]}..." for record in records})
    commits = sorted({(record.git.commit or "no git")[:7] for record in records})
    devices = sorted({f"{record.device.count} {record.device.kind} ({record.device.name})" for record in records})
    seconds = sum(record.throughput.seconds for record in records)
    grid = {label_of(job, evidence.sweep.axes) for job in evidence.sweep.jobs}
    beside = sum(run.label not in grid for run in evidence.runs)
    runs = f"{len(records)} of {counted(len(evidence.runs), 'run')}"
    runs += f" ({beside} not of the sweep's grid)" if beside else ""
    return [
        f"{section}: {runs}, {seconds / 3600:.1f} hours of training on {', '.join(devices)}; "
        f"data {', '.join(corpora)}; commits {', '.join(commits)}; made by `{command}`."
    ]


if __name__ == "__main__":
    end_with(main, __doc__)
