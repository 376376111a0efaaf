"""Evaluate the finished runs whose record lacks what a table needs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from configs.compose import compose
from configs.errors import UserError
from configs.heartbeat import beating
from configs.schema import AVERAGED, EvaluationConfig
from configs.text_values import quoted
from results.evidence.runs import Run
from results.evidence.stored import BYTES, SPLITS, TASKS, stored_evaluation


def evaluate_missing(runs: Sequence[Run], kind: str, smoke: bool, moved: bool = False) -> list[str]:
    """Evaluate the finished runs whose record lacks what a kind of table needs; what could not be evaluated, and why.

    `moved`: the corpus is looked for where the run's config here says, not where it lay when the run was made.
    """
    from results.evaluate.tasks import copy_depth, coupling, synchrony, translate

    # The table has figures of its own: those of single runs would take most of the time.
    do: dict[str, Callable[[EvaluationConfig], None]] = {
        "copy_depth": copy_depth,
        "coupling": partial(coupling, figure=False),
        "synchrony": partial(synchrony, figure=False),
        "translate": translate,
    }
    todo = [
        (run, run.path, task, checkpoint)
        for run in runs
        for task, checkpoint in TASKS[kind]
        if run.record is not None
        and run.path is not None
        and stored_evaluation(run.record, task, checkpoint == "start", smoke) is None
    ]
    failed = []
    for number, (run, path, task, checkpoint) in enumerate(todo, 1):
        print(f"\n[{number}/{len(todo)}] {task} of {run.label}, checkpoint {checkpoint}", flush=True)
        of = SPLITS.get(task, "validation")
        asked = [f"task={task}", quoted("run", str(path.parent)), f"split={of}", *_checkpoint(path.parent, checkpoint)]
        if moved:
            asked.append(quoted("data.path", str(run.config.data.path)))
        if task == "copy_depth":
            asked.append(f"max_bytes={BYTES[smoke]}")
        try:
            with beating():
                do[task](compose("eval", asked))
        except UserError as error:
            failed.append(f"{run.label}, {task} at checkpoint {checkpoint}: {error}")
    return failed


def _checkpoint(folder: Path, checkpoint: str) -> list[str]:
    """How a checkpoint is asked for. A short run has fewer epochs to average than usual, or none: then its last."""
    if checkpoint != "average":
        return [f"checkpoint={checkpoint}"]
    epochs = len(list((folder / "checkpoints").glob("epoch-*.ckpt")))
    return ["checkpoint=average", f"average={min(AVERAGED, epochs)}"] if epochs else ["checkpoint=last"]
