"""What figures need to know of a trained model beyond its loss: evaluations by eval.py, kept in the record."""

from collections.abc import Sequence
from typing import Any

from configs.compose import compose
from results.evidence import Run
from training.record import RunRecord

# By kind of table: the checkpoint and the overrides of each evaluation that it needs.
TASKS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "copy_depth": (("last", ("task=copy_depth",)),),
    "coupling": (("last", ("task=coupling",)),),
    "synchrony": (("start", ("task=synchrony",)), ("last", ("task=synchrony",))),
}
BYTES = {False: 1_000_000, True: 4096}  # of the validation split, for a loss by byte; in a smoke profile


def entry(record: RunRecord, task: str, start: bool = False) -> dict[str, Any] | None:
    """The newest evaluation of a task, on the validation split, of the last checkpoint or of step 0; None without.

    The last checkpoint of a run that is done is that of its final step: one of an earlier epoch is none.
    """
    wanted = 0 if start else record.final["step"] if record.final else None
    found = [
        made
        for made in record.evaluations
        if made.get("task") == task
        and made["split"] == "validation"
        and (made["step"] == wanted or (wanted is None and made["step"] > 0))
    ]
    return found[-1] if found else None


def evaluated(record: RunRecord, kind: str) -> int:
    """How many of the evaluations that a kind of table needs the record has."""
    return sum(
        entry(record, overrides[0].partition("=")[2], checkpoint == "start") is not None
        for checkpoint, overrides in TASKS.get(kind, ())
    )


def evaluate_missing(runs: Sequence[Run], kind: str, smoke: bool) -> None:
    """Evaluate the finished runs whose record lacks what a kind of table needs. UserError where one cannot be."""
    from results.tasks import TASKS as DO

    todo = [
        (run, checkpoint, overrides)
        for run in runs
        for checkpoint, overrides in TASKS[kind]
        if run.record is not None
        and run.path is not None
        and entry(run.record, overrides[0].partition("=")[2], checkpoint == "start") is None
    ]
    for number, (run, checkpoint, overrides) in enumerate(todo, 1):
        assert run.path is not None
        print(f"\n[{number}/{len(todo)}] {overrides[0].partition('=')[2]} of {run.label}, {checkpoint}", flush=True)
        command = [f"run='{run.path.parent}'", f"checkpoint={checkpoint}", "split=validation", *overrides]
        if kind == "copy_depth":
            command.append(f"max_bytes={BYTES[smoke]}")
        config = compose("eval", command)
        DO[config.task](config)
