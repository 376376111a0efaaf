"""The run record: what was run, on what, and what came out. Plain JSON, no absolute path, no host name."""

import json
import os
import re
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from configs.errors import UserError
from data.atomic_write import write_atomically

# An absolute path, alone or after `key=`, in quotes or not.
ABSOLUTE = re.compile(r"""([^=/'"]*=)?(['"]?)(/.*)\2""", re.DOTALL)
STATUSES = ("running", "done", "failed", "interrupted")
# Inner keys that readers of records rely on, in configs of any age: dotted key -> type.
IN_CONFIG = {"model.name": str, "scale.name": str, "data.context": int}
IN_ROW = {"step": int, "tokens": int, "epoch": float, "split": str, "bits_per_byte": float}
IN_VALIDATION = {"bytes": int, "standard_error": float}
IN_EVALUATION = {"split": str, "step": int}
OF_TASK: dict[str, dict[str, type]] = {
    "copy_depth": {"bytes": int, "context": int, "depths": list, "distances": list, "counts": list, "nats": list}
    | {"by_distance.depths": list, "by_distance.counts": list, "by_distance.nats": list},
    "coupling": {"checkpoint": str, "kernel_real": list, "kernel_imag": list, "order_parameter": list}
    | {"null": list, "gate": list},
    "synchrony": {"windows": int, "heads": list},
}


@dataclass
class DataInfo:
    """The corpus that was modelled."""

    name: str
    sha256: str
    bytes: dict[str, int]  # of train, validation and test
    source: dict[str, Any]


@dataclass
class Throughput:
    """Over all of the run's training; validation and checkpoints are left out."""

    tokens_per_second: float = 0.0
    seconds: float = 0.0


@dataclass
class Git:
    """The commit the code came from, and whether it had been changed; None where there is no git."""

    commit: str | None = None
    dirty: bool | None = None


@dataclass
class Device:
    kind: str  # cpu | cuda
    name: str
    threads: int
    count: int = 1


@dataclass
class RunRecord:
    """One run. Rows of `metrics`: {step, epoch, tokens, split, nats, bits_per_byte, ...}, in the order they came.

    Train rows add lr, grad_norm and tokens_per_second, and average nats and grad_norm over the steps since the
    row before; validation rows add standard_error (of bits_per_byte) and bytes, and `synchrony`, what a model of
    oscillators reports of itself: quantity -> layer -> head.
    """

    config: dict[str, Any]
    config_hash: str
    parameters: dict[str, int]  # total, and by part
    flops_per_token: int
    data: DataInfo
    seed: int
    device: Device
    versions: dict[str, str]
    git: Git
    command: str
    started: str  # ISO 8601, UTC
    status: str = "running"
    error: str | None = None
    finished: str | None = None
    final: dict[str, Any] | None = None  # the last validation row of a run that is done
    throughput: Throughput = field(default_factory=Throughput)
    peak_memory_bytes: int = 0
    # Of a run with Selective Synchronization Attention: which form of it trained and evaluated (ssa.backends).
    ssa: dict[str, str] = field(default_factory=dict)
    # What parts of the run before this one were made with, where it differs: `made_with` and the command of each.
    earlier: list[dict[str, Any]] = field(default_factory=list)
    # `synchrony` of the validation rows, before the first step: quantity -> layer -> head. Empty for a model without
    # any, and in records from before this was kept.
    synchrony_at_start: dict[str, Any] = field(default_factory=dict)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, split: str) -> list[dict[str, Any]]:
        """The metric rows of one split, in the order of their steps."""
        return [row for row in self.metrics if row["split"] == split]

    def made_with(self) -> dict[str, Any]:
        """Device, versions and code: what must stay the same for a resumed run to end with the same bits."""
        return {"device": asdict(self.device), "versions": self.versions, "git": asdict(self.git), "ssa": self.ssa}

    def go_on_from(self, before: "RunRecord") -> None:
        """Take over what an interrupted part of this run left in its record."""
        self.started, self.evaluations = before.started, before.evaluations
        self.peak_memory_bytes, self.throughput = before.peak_memory_bytes, before.throughput
        self.earlier, self.synchrony_at_start = before.earlier, before.synchrony_at_start
        if before.made_with() != self.made_with():
            self.earlier = [*before.earlier, {**before.made_with(), "command": before.command}]


def record_path(path: Path | str) -> Path:
    """The record.json of a run directory, or the file itself."""
    path = Path(path)
    return path / "record.json" if path.is_dir() else path


def load_record(path: Path | str) -> RunRecord:
    """The record of a run directory or of a record file; UserError when it is absent, damaged or of another form."""
    path = record_path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_finite)
    except FileNotFoundError:
        raise UserError(f"there is no run record at {path}; give a run directory or its record.json") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the run record {path}: {error}") from None
    record = _dataclass_from(RunRecord, content, path, "record")
    if record.status not in STATUSES:
        raise UserError(f"{path} is not a run record: status {record.status!r} is none of {', '.join(STATUSES)}")
    if fault := _fault(record):
        raise UserError(f"{path} is not a run record: {fault}")
    return record


def _not_finite(name: str) -> float:
    raise ValueError(f"it holds the number {name}")


def _fault(record: RunRecord) -> str | None:
    """What of the inner keys is missing or of another type."""
    if fault := _lacks("config", record.config, IN_CONFIG):
        return fault
    if "validation" not in record.data.bytes:
        return "data.bytes lacks 'validation'"
    if not isinstance(record.parameters.get("total"), int):
        return "parameters lacks 'total'"
    if record.status == "done" and record.final is None:
        return "status is done and final is missing"
    rows = [("final", record.final)] if record.final is not None else []
    if record.final is not None and record.final.get("split") != "validation":
        return f"final is of split {record.final.get('split')!r}"
    for where, row in [*rows, *((f"row {n} of metrics", row) for n, row in enumerate(record.metrics))]:
        fault = _lacks(where, row, IN_ROW)
        if not fault and row["split"] == "validation":
            fault = _lacks(where, row, IN_VALIDATION)
        if fault:
            return fault
    for n, made in enumerate(record.evaluations):
        where = f"entry {n} of evaluations"
        fault = _lacks(where, made, IN_EVALUATION) or _lacks(where, made, OF_TASK.get(made.get("task"), {}))
        if fault:
            return fault
    return None


def _lacks(where: str, content: Any, keys: dict[str, type]) -> str | None:
    for key, kind in keys.items():
        value = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not _fits(value, kind) or isinstance(value, bool):
            return f"{where} lacks {key!r}" if value is None else f"{where}: {key!r} is {value!r}"
    return None


def save_record(record: RunRecord, path: Path | str) -> None:
    """Write the record atomically, one line a metric row; ValueError for a number that is not finite."""
    write_atomically(record_path(path), dumps(record).encode())


def dumps(record: RunRecord) -> str:
    """The record as JSON text."""
    # Not dataclasses.asdict on the whole: it copies every metric row, which a long run has many of.
    parts = []
    for entry in fields(record):
        value = getattr(record, entry.name)
        if entry.name in ("metrics", "evaluations", "earlier"):
            text = "[" + ",".join("\n  " + json.dumps(row, allow_nan=False) for row in value) + "\n ]"
        else:
            plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
            text = json.dumps(plain, indent=1, allow_nan=False).replace("\n", "\n ")
        parts.append(f' "{entry.name}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _dataclass_from(kind: type, content: Any, path: Path, where: str) -> Any:
    """A dataclass from plain JSON; a missing key, an unknown one or a wrong container is named."""
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a run record: {where} is not a mapping")
    known = {entry.name: entry for entry in fields(kind)}
    if unknown := sorted(content.keys() - known.keys()):
        raise UserError(f"{path} is not a run record: {where} has an unknown key {unknown[0]!r}")
    required = {n for n, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING}
    if missing := sorted(required - content.keys()):
        raise UserError(f"{path} is not a run record: {where} lacks {missing[0]!r}")
    values = {}
    for name, hint in get_type_hints(kind).items():
        if name not in content:
            continue
        value = content[name]
        if hasattr(hint, "__dataclass_fields__"):
            value = _dataclass_from(hint, value, path, f"{where}.{name}")
        elif not _fits(value, hint):
            raise UserError(f"{path} is not a run record: {where}.{name} is a {type(value).__name__}")
        values[name] = value
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the outer type of a hint (list[...] -> list, X | None -> X or None)."""
    options = getattr(hint, "__args__", ()) if getattr(hint, "__origin__", None) is None else ()
    if options:  # a union
        return any(_fits(value, option) for option in options)
    kind = getattr(hint, "__origin__", hint)
    return isinstance(value, (int, float) if kind is float else kind)


def without_absolute_paths(value: Any) -> Any:
    """Plain JSON with each absolute path, alone or after `key=`, cut down to its last part."""
    if isinstance(value, dict):
        return {key: without_absolute_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_absolute_paths(entry) for entry in value]
    if isinstance(value, str) and (found := ABSOLUTE.fullmatch(value)):
        key, quote, path = found.groups(default="")
        return key + quote + os.path.basename(path.rstrip("/")) + quote
    return value
