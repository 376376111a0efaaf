"""The steps at which a run records what its heads of Selective Synchronization Attention lock."""

from typing import Any

from results.evidence.runs import Run

LOCKED = "locked_fraction"


def locked_rows(run: Run) -> list[dict[str, Any]]:
    """The rows that record what the heads of a run lock, from its start: step, tokens, and `LOCKED` by layer and
    head.
    """
    if run.record is None:
        return []
    start = {"step": 0, "tokens": 0, "synchrony": run.record.synchrony_at_start}
    rows = [start, *run.record.rows("validation")]
    return [
        {"step": row["step"], "tokens": row["tokens"], LOCKED: row["synchrony"][LOCKED]}
        for row in rows
        if LOCKED in row.get("synchrony", {})
    ]
