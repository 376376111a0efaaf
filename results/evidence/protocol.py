"""What a number measures. Numbers of different protocols do not share a table."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from configs.counted import counted
from configs.errors import UserError
from results.evidence.runs import few
from results.evidence.settings import tokenizer_of
from training.run_record.record import RunRecord

# Both numbers are of the committed records, and tests/results/test_pairing.py holds them to about 0.1 and 10 %.
UNPAIRED = (
    "Differences: Welch's interval over all seeds of both models. Seeds are not paired: over pairs of models with the "
    "same three seeds on record their losses correlate by about 0.1, and pairing leaves about 100 % of the variance."
)


@dataclass(frozen=True)
class Protocol:
    """Two numbers can be compared only where all of these are equal."""

    metric: str
    unit: str
    tokenizer: str
    split: str
    denominator: int  # what the sum was divided by: bytes of the split that were taken
    context: int  # most tokens that a prediction sees


def row_protocol(record: RunRecord, row: dict[str, Any]) -> Protocol:
    """That of a validation row of a language model."""
    context = int(record.config["data"]["context"])
    return Protocol("loss", "bits per byte", tokenizer_of(record), str(row["split"]), int(row["bytes"]), context)


def require_one(protocols: Sequence[Protocol], table: str) -> None:
    """UserError naming all that differ, when not all protocols are equal."""
    different = [f.name for f in fields(Protocol) if len({getattr(p, f.name) for p in protocols}) > 1]
    if different:
        values = "; ".join(f"{name}: {_among([getattr(p, name) for p in protocols])}" for name in different)
        raise UserError(f"{table}: these runs cannot share a table: they differ in {values}")


def footnotes(records: Sequence[RunRecord], one_data: bool = True) -> list[str]:
    """What a reader has to know about how the runs were made: changed code, other data, other libraries or devices.

    `one_data`: all numbers should be of the same data.
    """
    notes = []
    if dirty := [record for record in records if any(part["git"]["dirty"] for part in _parts(record))]:
        runs = [f"{record.config['model']['name']} seed {record.seed}" for record in dirty]
        notes.append(f"Made with uncommitted changes to the code: {few(runs)}.")
    for what, values in (
        ("The data had different content (SHA-256)", [record.data.sha256[:12] for record in records if one_data]),
        ("Computed in different precisions", [str(record.config.get("precision", "32")) for record in records]),
        ("Computed on different devices", [_every(record, lambda part: _device(part["device"])) for record in records]),
    ):
        if len(set(values)) > 1 or any(" then " in value for value in values):
            notes.append(f"{what}: {_among(values)}.")
    libraries = sorted({name for record in records for part in _parts(record) for name in part["versions"]})
    for name in libraries:
        versions = [_every(record, partial(_version, name)) for record in records]
        if len(set(versions)) > 1 or any(" then " in version for version in versions):
            notes.append(f"Different versions of {name}: {_among(versions)}.")
    return notes


def _parts(record: RunRecord) -> list[dict[str, Any]]:
    """What the parts of a run were made with: those before it was interrupted, then the last."""
    return [*record.earlier, record.made_with()]


def _version(name: str, part: dict[str, Any]) -> str:
    return str(part["versions"].get(name, "unknown"))


def described(records: Sequence[RunRecord]) -> str:
    """Of the runs behind a figure: corpus, size, tokens, seeds, and what they were trained on."""
    tokens = sorted({record.final["tokens"] for record in records if record.final})
    seeds = len({record.seed for record in records})
    parts = [
        ", ".join(dict.fromkeys(record.data.name for record in records)),
        " and ".join(dict.fromkeys(record.config["scale"]["name"] for record in records)) + " parameters",
        *([f"{tokens[-1]:,} tokens"] if tokens else []),
        counted(seeds, "seed"),
    ]
    return f"{', '.join(parts)}; {trained_on(records)}"


def trained_on(records: Sequence[RunRecord]) -> str:
    """`trained on AMD EPYC (3 runs), NVIDIA H100 (9 runs)`, without numbers where all had one device."""
    names = Counter(record.device.name for record in records)
    shown = (name if len(names) == 1 else f"{name} ({counted(n, 'run')})" for name, n in sorted(names.items()))
    return f"trained on {', '.join(shown)}"


def _device(device: dict[str, Any]) -> str:
    threads = int(device["threads"])
    return f"{device['kind']} {device['name']}, {counted(threads, 'thread')}"


def _every(record: RunRecord, of: Callable[[dict[str, Any]], object]) -> str:
    """Of each part of a run what differs from the part before: `3.1`, or `3.1 then 3.2`."""
    values = [str(of(part)) for part in _parts(record)]
    return " then ".join(value for k, value in enumerate(values) if k == 0 or value != values[k - 1])


def _among(values: Sequence[object]) -> str:
    """The different values with how often each is there: `3.1 (4 runs), 3.2 (1 run)`."""
    counts = Counter(str(value) for value in values)
    return ", ".join(f"{value} ({counted(n, 'run')})" for value, n in counts.items())
