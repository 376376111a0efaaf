"""The run directory's text files, written as the run goes: config.yaml, record.json and metrics.jsonl."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from data.atomic_write import sync_file, write_atomically, write_errors
from training.meter import Meter, NonFiniteError, Row
from training.run_record.environment import peak_resident_bytes
from training.run_record.metrics_file import read_rows
from training.run_record.record import RunRecord, Status, Throughput, now, save_record


class Recorder:
    """Keeps one run's record. Rows go to metrics.jsonl at once, to record.json with `save`, and to each listener.

    Processes other than the main one of a distributed run hold a recorder that does nothing: `folder` None.
    """

    def __init__(self, record: RunRecord, folder: Path | None, listeners: list[Callable[[Row], None]]) -> None:
        self.record = record
        self.folder = folder
        self.listeners = listeners

    def start(self, config_yaml: str, step: int) -> None:
        """Write the files as they are at the start; of an earlier part of the run the rows up to `step` are kept.

        They come from metrics.jsonl, and where a line of it was damaged, from the record.
        """
        if self.folder is None:
            return
        metrics = self.folder / "metrics.jsonl"
        rows = [*self.record.metrics, *read_rows(metrics)]
        once = {(row["step"], row["split"] == "validation"): row for row in rows if row["step"] <= step}
        self.record.metrics = [once[place] for place in sorted(once)]
        write_atomically(metrics, "".join(json.dumps(row) + "\n" for row in self.record.metrics).encode())
        write_atomically(self.folder / "config.yaml", config_yaml.encode())
        save_record(self.record, self.folder / "record.json")

    def add(self, row: Row) -> None:
        """Append a row. Raises NonFiniteError naming the metric and the step, and WriteError."""
        for name, value in _numbers(row):
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFiniteError(f"{row['split']} {name} became {value} at step {row['step']}")
        if self.folder is None:
            return
        self.record.metrics.append(row)
        path = self.folder / "metrics.jsonl"
        with write_errors(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for listener in self.listeners:
            listener(row)

    def has_validation(self, step: int) -> bool:
        """Whether the validation of a step is in the record."""
        return any(row["step"] == step and row["split"] == "validation" for row in reversed(self.record.metrics))

    def save(self, meter: Meter) -> None:
        """Bring record.json up to date."""
        if self.folder is None:
            return
        self.record.throughput = Throughput(meter.tokens_per_second, meter.seconds)
        self.record.peak_memory_bytes = max(self.record.peak_memory_bytes, peak_memory(self.record.device.kind))
        with write_errors(self.folder / "metrics.jsonl"):
            sync_file(self.folder / "metrics.jsonl")
        save_record(self.record, self.folder / "record.json")

    def finish(self, status: Status, error: str | None = None) -> None:
        """The last word on the run: done, failed or interrupted."""
        if self.folder is None:
            return
        self.record.status = status
        self.record.error = error
        self.record.finished = now()
        if status == "done":
            self.record.final = self.record.rows("validation")[-1]
        save_record(self.record, self.folder / "record.json")


def _numbers(row: Row) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name == "synchrony":  # quantity -> layer -> head
            yield from ((f"{name} {key}", x) for key, layers in value.items() for heads in layers for x in heads)
        elif name == "lengths":
            yield from ((f"{key} at {each['context']} symbols", x) for each in value for key, x in each.items())
        else:
            yield name, value


def peak_memory(kind: str) -> int:
    """Bytes: the most that tensors took on a CUDA device, or the most that this process took on a CPU."""
    return torch.cuda.max_memory_allocated() if kind == "cuda" else peak_resident_bytes()
