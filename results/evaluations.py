"""What figures need to know of a trained model beyond its loss: evaluations by eval.py, kept in the record."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from configs.compose import compose
from configs.entry import quoted
from configs.errors import UserError
from configs.schema import EvaluationConfig
from results.evidence import Run
from training.record import RunRecord

# By kind of table: the task and the checkpoint of each evaluation that it needs.
TASKS: dict[str, tuple[tuple[str, str], ...]] = {
    "copy_depth": (("copy_depth", "last"),),
    "coupling": (("coupling", "last"),),
    "synchrony": (("synchrony", "start"), ("synchrony", "last")),
}
BYTES = {False: 1_000_000, True: 4096}  # of the validation split, for a loss by byte; in a smoke profile

Evaluated = tuple[RunRecord, dict[str, Any]]  # a run, and the one of its evaluations that counts


def entry(record: RunRecord, task: str, start: bool = False, smoke: bool = False) -> dict[str, Any] | None:
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


def evaluated(record: RunRecord, kind: str, smoke: bool = False) -> int:
    """How many of the evaluations that a kind of table needs the record has."""
    needed = TASKS.get(kind, ())
    return sum(entry(record, task, checkpoint == "start", smoke) is not None for task, checkpoint in needed)


def evaluate_missing(runs: Sequence[Run], kind: str, smoke: bool, moved: bool = False) -> list[str]:
    """Evaluate the finished runs whose record lacks what a kind of table needs; what could not be, and why.

    `moved`: the corpus is looked for where the run's config here says, not where it lay when the run was made.
    """
    from results.tasks import copy_depth, coupling, synchrony

    # The table has figures of its own: those of single runs would take most of the time.
    do: dict[str, Callable[[EvaluationConfig], None]] = {
        "copy_depth": copy_depth,
        "coupling": partial(coupling, figure=False),
        "synchrony": partial(synchrony, figure=False),
    }
    todo = [
        (run, run.path, task, checkpoint)
        for run in runs
        for task, checkpoint in TASKS[kind]
        if run.record is not None
        and run.path is not None
        and entry(run.record, task, checkpoint == "start", smoke) is None
    ]
    failed = []
    for number, (run, path, task, checkpoint) in enumerate(todo, 1):
        print(f"\n[{number}/{len(todo)}] {task} of {run.label}, checkpoint {checkpoint}", flush=True)
        asked = [f"task={task}", quoted("run", str(path.parent)), f"checkpoint={checkpoint}", "split=validation"]
        if moved:
            asked.append(quoted("data.path", str(run.config.data.path)))
        if task == "copy_depth":
            asked.append(f"max_bytes={BYTES[smoke]}")
        try:
            do[task](compose("eval", asked))
        except UserError as error:
            failed.append(f"{run.label}, {task} at checkpoint {checkpoint}: {error}")
    return failed
