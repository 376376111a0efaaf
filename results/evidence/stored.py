"""What figures need to know about a trained model beyond its loss: evaluations by eval.py, kept in the record."""

import math
from typing import Any

import numpy as np

from configs.counted import counted
from configs.schema import AVERAGED, BEAM, LENGTH_PENALTY
from measures.statistics import Estimate, half_width, mean_over_text
from results.evidence.protocol import footnotes
from results.evidence.runs import Evidence
from training.run_record.record import RunRecord

# By kind of table: the task and the checkpoint of each evaluation that it needs.
TASKS: dict[str, tuple[tuple[str, str], ...]] = {
    "copy_depth": (("copy_depth", "last"),),
    "coupling": (("coupling", "last"),),
    "synchrony": (("synchrony", "start"), ("synchrony", "last")),
    "translation": (("translate", "average"),),
}
SPLITS = {"translate": "test"}  # that a task is evaluated on, where it is not validation
BYTES = {False: 1_000_000, True: 4096}  # of the validation split, for a loss by byte; in a smoke profile

Evaluated = tuple[RunRecord, dict[str, Any]]  # a run, and the one of its evaluations that counts


def stored_evaluation(record: RunRecord, task: str, start: bool = False, smoke: bool = False) -> dict[str, Any] | None:
    """The newest evaluation that a table may show, of the last checkpoint or of step 0; None where there is none.

    It is on the validation split, of translations on the test split and no other test set, for a loss by byte on its
    first `BYTES` in windows of the run's own context. The last checkpoint of a run that is done is that of its final
    step: one of an earlier epoch is none.
    """
    step = 0 if start else record.final["step"] if record.final else None
    whole, context = record.data.bytes["validation"], int(record.config["data"]["context"])
    fitting = [
        entry
        for entry in record.evaluations
        if entry.get("task") == task
        and (task != "translate" or _as_a_table_has_it(entry, record))
        and entry.get("test", entry["split"]) == SPLITS.get(task, "validation")
        and (entry["step"] == step or (step is None and entry["step"] > 0) or task == "translate")
        and (task != "copy_depth" or (_asked(entry, whole), entry["context"]) == (min(BYTES[smoke], whole), context))
    ]
    return fitting[-1] if fitting else None


def _as_a_table_has_it(entry: dict[str, Any], record: RunRecord) -> bool:
    """Whether translations are of the search and the weights that tables compare: the average of the last epochs, or
    the last checkpoint where no epoch was completed.
    """
    final = record.final
    if final is None or (entry["beam"], entry["length_penalty"]) != (BEAM, LENGTH_PENALTY):
        return False
    epochs = int(final["epoch"] + 1e-9)
    if not epochs:
        return not entry["averaged"] and bool(entry["step"] == final["step"])
    last = round(epochs * final["step"] / final["epoch"])  # the run may have gone on into a further epoch
    return bool(entry["averaged"] == min(AVERAGED, epochs) and entry["step"] == last)


def _asked(entry: dict[str, Any], whole: int) -> int:
    """The bytes of text that an evaluation was asked for; where a token is longer, it took what lies within them."""
    asked = entry.get("max_bytes", entry["bytes"])  # absent in older ones, of bytes
    return whole if asked is None else min(int(asked), whole)


def final_over_text(record: RunRecord) -> Estimate:
    """The final validation loss of a run that is done, bits per byte, with its interval over text where one is known.

    It is the row's own where that says over how many blocks; the `standard_error` of older rows is over single windows,
    2.5 times too small, and is not shown. Else it is that of the blocks of an evaluation by copy depth on these bytes.
    """
    final = record.final
    assert final is not None, "the run is done"
    bits = float(final["bits_per_byte"])
    if (blocks := final.get("blocks")) is not None:
        error = final["standard_error"]
        return Estimate(bits, math.nan if error is None else half_width(error, blocks), "text")
    entry = stored_evaluation(record, "copy_depth")
    if entry is None or entry["bytes"] != final["bytes"]:
        return Estimate(bits, over="text")
    nats, counts = (np.array(entry[key]).sum(1) for key in ("nats", "counts"))
    return Estimate(bits, mean_over_text(nats / math.log(2), counts).half_width, "text")


def count_stored(record: RunRecord, kind: str, smoke: bool = False) -> int:
    """How many of the evaluations that a kind of table needs the record has."""
    needed = TASKS.get(kind, ())
    return sum(stored_evaluation(record, task, checkpoint == "start", smoke) is not None for task, checkpoint in needed)


def with_evaluation(evidence: Evidence, task: str) -> tuple[list[Evaluated], list[str]]:
    """The runs with the evaluation that counts, and notes on the others."""
    smoke = evidence.sweep.profile == "smoke"
    evaluated = [
        (record, entry)
        for record in evidence.records
        if (entry := stored_evaluation(record, task, smoke=smoke)) is not None
    ]
    notes = footnotes([record for record, _ in evaluated])
    if lacking := len(evidence.records) - len(evaluated):
        on_bytes = f" max_bytes={BYTES[smoke]}" if task == "copy_depth" else ""
        notes.append(
            f"Not evaluated on these bytes at the last step: {counted(lacking, 'trained run')}; "
            f"type python eval.py run=PATH task={task} split={SPLITS.get(task, 'validation')}{on_bytes}"
            f"{' checkpoint=average' if task == 'translate' else ''}."
        )
    return evaluated, notes + evidence.shortfall()
