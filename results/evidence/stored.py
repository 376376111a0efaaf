"""What figures need to know of a trained model beyond its loss: evaluations by eval.py, kept in the record."""

from typing import Any

from results.evidence.protocol import footnotes
from results.evidence.runs import Evidence
from training.run_record.record import RunRecord

# By kind of table: the task and the checkpoint of each evaluation that it needs.
TASKS: dict[str, tuple[tuple[str, str], ...]] = {
    "copy_depth": (("copy_depth", "last"),),
    "coupling": (("coupling", "last"),),
    "synchrony": (("synchrony", "start"), ("synchrony", "last")),
}
BYTES = {False: 1_000_000, True: 4096}  # of the validation split, for a loss by byte; in a smoke profile

Evaluated = tuple[RunRecord, dict[str, Any]]  # a run, and the one of its evaluations that counts


def stored_evaluation(record: RunRecord, task: str, start: bool = False, smoke: bool = False) -> dict[str, Any] | None:
    """The newest evaluation that a table may show, of the last checkpoint or of step 0; None where there is none.

    It is on the validation split, for a loss by byte on its first `BYTES` in windows of the run's own context. The last
    checkpoint of a run that is done is that of its final step: one of an earlier epoch is none.
    """
    wanted = 0 if start else record.final["step"] if record.final else None
    found = [
        made
        for made in record.evaluations
        if made.get("task") == task
        and made["split"] == "validation"
        and (made["step"] == wanted or (wanted is None and made["step"] > 0))
        and (task != "copy_depth" or _bytes_of(made) == _wanted_bytes(record, smoke))
    ]
    return found[-1] if found else None


def _bytes_of(made: dict[str, Any]) -> tuple[int, int]:
    return made["bytes"], made["context"]


def _wanted_bytes(record: RunRecord, smoke: bool) -> tuple[int, int]:
    return min(BYTES[smoke], record.data.bytes["validation"]), int(record.config["data"]["context"])


def count_stored(record: RunRecord, kind: str, smoke: bool = False) -> int:
    """How many of the evaluations that a kind of table needs the record has."""
    needed = TASKS.get(kind, ())
    return sum(stored_evaluation(record, task, checkpoint == "start", smoke) is not None for task, checkpoint in needed)


def with_evaluation(evidence: Evidence, task: str) -> tuple[list[Evaluated], list[str]]:
    """The runs with the evaluation that counts, and notes on the others."""
    smoke = evidence.sweep.profile == "smoke"
    found = [
        (record, made)
        for record in evidence.records
        if (made := stored_evaluation(record, task, smoke=smoke)) is not None
    ]
    notes = footnotes([record for record, _ in found])
    if lacking := len(evidence.records) - len(found):
        of = f" max_bytes={BYTES[smoke]}" if task == "copy_depth" else ""
        notes.append(
            f"{lacking} trained runs were not evaluated on these bytes at their last step: "
            f"type python eval.py run=PATH task={task} split=validation{of}."
        )
    return found, notes + evidence.shortfall()
