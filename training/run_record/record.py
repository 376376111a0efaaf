"""The run record: what was run, on what, and the result. Plain JSON, no absolute path, no host name."""

import functools
import json
import os
import re
from collections.abc import Container, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, StrictBool, TypeAdapter, with_config
from typing_extensions import TypedDict

from configs.errors import UserError
from data.atomic_write import write_atomically
from training.run_record.rows import AnyConfig, AnyEvaluation, ByHead, FinalRow, MetricRow
from training.run_record.strict_json import CheckedAs, Count, Number, read_strictly

# An absolute path, alone or after `key=`, in quotes or not.
ABSOLUTE = re.compile(r"""([^=/'"]*=)?(['"]?)(/.*)\2""", re.DOTALL)
NO_CHECKPOINT = "no checkpoint was written yet"  # so ends the error of a run that was interrupted before its first one
# How a config cuts a batch into parts.
PARTS = (("trainer", "strategy"), ("trainer", "micro_batch_size"), ("data", "micro_batches"))


Status = Literal["running", "done", "failed", "interrupted"]


def having(key: str) -> AfterValidator:
    """A mapping that has a key."""

    def check(content: dict[str, int]) -> dict[str, int]:
        if key not in content:
            raise ValueError(f"lacks {key!r}")
        return content

    return AfterValidator(check)


@with_config(extra="forbid")
class TokenizerInfo(TypedDict):
    """How text became tokens. sha256: of tokenizer.json; tokens_sha256: of the tokens. None where there is none of it.

    characters: the bytes of the vocabulary as Latin-1, token 0 first, where it follows from the corpus.
    """

    name: str
    sha256: str | None
    vocabulary_size: Count
    tokens_sha256: NotRequired[str | None]
    characters: NotRequired[str]


@with_config(extra="forbid")
@dataclass
class DataInfo:
    """The corpus that was modelled, or the strings, which have no bytes of text and an endless training split."""

    name: str
    sha256: str
    bytes: Annotated[dict[str, Count], having("validation")]  # of text, by split: train, validation and test
    source: dict[str, Any]
    tokens: dict[str, Count] = field(default_factory=dict)  # targets by split; empty in older records, of bytes
    tokenizer: TokenizerInfo = field(
        default_factory=lambda: TokenizerInfo(name="bytes", sha256=None, vocabulary_size=256)
    )


@with_config(extra="forbid")
@dataclass
class Throughput:
    """Over all of the run's training; validation and checkpoints are left out."""

    tokens_per_second: Number = 0.0
    seconds: Number = 0.0


@with_config(extra="forbid")
@dataclass
class Git:
    """The commit the code came from, and whether it had been changed; None where there is no git."""

    commit: str | None = None
    dirty: StrictBool | None = None


@with_config(extra="forbid")
@dataclass
class Device:
    kind: str  # cpu | cuda
    name: str
    threads: Count
    count: Count = 1
    float32: str = "float32"  # how float32 matrices are multiplied: TF32 on the tensor cores of a GPU


@with_config(extra="forbid")
class MadeWith(TypedDict):
    """What an earlier part of a run was made with."""

    device: Device
    versions: dict[str, str]
    git: Git
    ssa: NotRequired[dict[str, str]]
    parts: NotRequired[dict[str, Any]]
    command: str


@with_config(extra="forbid")
@dataclass
class RunRecord:
    """One run. What the plain dicts hold is in `training.run_record.rows`; metrics are in the order they came."""

    config: Annotated[dict[str, Any], CheckedAs(AnyConfig)]
    config_hash: str
    # total, and by part; of a token vocabulary `without_tables` too, which its budget counts.
    parameters: Annotated[dict[str, Count], having("total")]
    flops_per_token: Count
    data: DataInfo
    seed: Count
    device: Device
    versions: dict[str, str]
    git: Git
    command: str
    started: str  # ISO 8601, UTC
    status: Status = "running"
    error: str | None = None
    finished: str | None = None
    # The last validation row of a run that is done.
    final: Annotated[dict[str, Any] | None, CheckedAs(FinalRow | None)] = None
    throughput: Throughput = field(default_factory=Throughput)
    peak_memory_bytes: Count = 0
    # Of a run with Selective Synchronization Attention: which form of it trained and evaluated (ssa.backends).
    ssa: dict[str, str] = field(default_factory=dict)
    # What parts of the run before this one were made with, where it differs: `made_with` and the command of each.
    earlier: Annotated[list[dict[str, Any]], CheckedAs(list[MadeWith])] = field(default_factory=list)
    # `synchrony` of the validation rows, before the first step: quantity -> layer -> head. Empty for a model without
    # any, and in records from before this was kept.
    synchrony_at_start: Annotated[dict[str, Any], CheckedAs(dict[str, ByHead])] = field(default_factory=dict)
    evaluations: Annotated[list[dict[str, Any]], CheckedAs(list[AnyEvaluation])] = field(default_factory=list)
    metrics: Annotated[list[dict[str, Any]], CheckedAs(list[MetricRow])] = field(default_factory=list)
    # Keys that the file it was read from lacks, as older ones do: not written into it as long as they say nothing.
    absent: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)

    def rows(self, split: str) -> list[dict[str, Any]]:
        """The metric rows of one split, in the order of their steps."""
        return [row for row in self.metrics if row["split"] == split]

    def made_with(self) -> dict[str, Any]:
        """Device, versions, code and the parts of a batch: what must stay the same for a resumed run to end with the
        same bits.
        """
        parts = {key: self.config.get(group, {}).get(key) for group, key in PARTS}
        made_with = {"device": asdict(self.device), "versions": self.versions, "git": asdict(self.git), "ssa": self.ssa}
        return made_with | {"parts": {key: value for key, value in parts.items() if value is not None}}

    def go_on_from(self, before: "RunRecord") -> None:
        """Take over what an interrupted part of this run left in its record."""
        self.started, self.evaluations = before.started, before.evaluations
        self.peak_memory_bytes, self.throughput = before.peak_memory_bytes, before.throughput
        self.earlier, self.synchrony_at_start = before.earlier, before.synchrony_at_start
        self.metrics = before.metrics
        self.config_hash = before.config_hash  # of older code, perhaps; its checkpoints have it
        if before.made_with() != self.made_with():
            self.earlier = [*before.earlier, {**before.made_with(), "command": before.command}]


def record_path(path: Path | str) -> Path:
    """The record.json of a run directory, or the file itself."""
    path = Path(path)
    return path / "record.json" if path.is_dir() else path


@functools.cache
def record_form() -> TypeAdapter[RunRecord]:
    """What a record is checked against; made when the first is read, because that takes half a second."""
    return TypeAdapter(RunRecord)


def load_record(path: Path | str) -> RunRecord:
    """The record of a run directory or of a record file; UserError when it is absent, damaged or of another form."""
    path = record_path(path)
    try:
        record, content = read_strictly(path, record_form(), "run record")
    except FileNotFoundError:
        raise UserError(f"there is no run record at {path}; give a run directory or its record.json") from None
    if record.status == "done" and record.final is None:
        raise UserError(f"{path} is not a run record: status is done and final is missing")
    record.absent = frozenset(_lacking(_written(record), content))
    return record


def save_record(record: RunRecord, path: Path | str) -> None:
    """Write the record atomically, one line a metric row; ValueError for a number that is not finite."""
    write_atomically(record_path(path), dumps(record).encode())


def dumps(record: RunRecord) -> str:
    """The record as JSON text."""
    parts = []
    for key, value in _written(record, record.absent).items():
        if key in ("metrics", "evaluations", "earlier"):
            text = "[" + ",".join("\n  " + json.dumps(row, allow_nan=False) for row in value) + "\n ]"
        else:
            text = json.dumps(value, indent=1, allow_nan=False).replace("\n", "\n ")
        parts.append(f' "{key}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _written(part: Any, absent: Container[str] = (), prefix: str = "") -> dict[str, Any]:
    """The keys of a record, or of a part of it, and what is written for them."""
    # Not dataclasses.asdict on the whole: it copies every metric row, which a long run has many of.
    written = {}
    for own in fields(part):
        key, value = prefix + own.name, getattr(part, own.name)
        default = own.default if own.default_factory is MISSING else own.default_factory()
        if own.init and not (key in absent and value == default):
            written[own.name] = _written(value, absent, key + ".") if is_dataclass(value) else value
    return written


def _lacking(written: dict[str, Any], content: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys, dotted, that would be written into a file that lacks them."""
    for key, value in written.items():
        if key not in content:
            yield prefix + key
        elif isinstance(value, dict):
            yield from _lacking(value, content[key], f"{prefix}{key}.")


def without_absolute_paths(value: Any) -> Any:
    """Plain JSON with each absolute path, alone or after `key=`, cut down to its last part."""
    if isinstance(value, dict):
        return {key: without_absolute_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_absolute_paths(inner) for inner in value]
    if isinstance(value, str) and (match := ABSOLUTE.fullmatch(value)):
        key, quote, path = match.groups(default="")
        return key + quote + os.path.basename(path.rstrip("/")) + quote
    return value


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
