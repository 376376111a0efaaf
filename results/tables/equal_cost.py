"""Cost beside loss: what a token of each model takes, and the loss where it and the transformer have cost the same."""

from collections.abc import Iterable, Mapping, Sequence

from results.document import Table, amount
from results.evidence.cost import Cost, at_equal_cost, relative_cost
from results.evidence.curves import curve, curve_bytes
from results.evidence.settings import TRANSFORMER
from training.run_record.record import RunRecord

NOT_MEASURED, NOT_REACHED = "not measured", "not reached"


def by_name(runs: Iterable[tuple[str, RunRecord]]) -> dict[str, list[RunRecord]]:
    """The records of each name, in the order of their first."""
    groups: dict[str, list[RunRecord]] = {}
    for name, record in runs:
        groups.setdefault(name, []).append(record)
    return groups


def cost_table(what: str, runs: Mapping[str, Sequence[RunRecord]]) -> Table | None:
    """A row for each name of `runs`, whose runs differ in the seed alone; None where the transformer is not among them,
    was never validated, or is alone. `what`: how the title begins.
    """
    transformers = runs.get(TRANSFORMER, ())
    n_bytes = curve_bytes([record for records in runs.values() for record in records])
    ends = [points[-1][0] for record in transformers if (points := curve(record, n_bytes))]
    if not ends or len(runs) < 2:
        return None
    costs = {name: relative_cost(records, transformers) for name, records in runs.items()}
    costs[TRANSFORMER] = Cost(1.0, 1.0, True)
    rows = []
    for name, records in runs.items():
        cost = costs[name]
        row = {"model": name, f"FLOPs / {TRANSFORMER}": f"{cost.flops:.2f}", f"time / {TRANSFORMER}": _time(cost)}
        for column, ratio in (("equal tokens", 1.0), ("equal FLOPs", cost.flops), ("equal time", cost.time)):
            row[column] = "" if name == TRANSFORMER else _cell(records, transformers, ratio, n_bytes, min(ends))
        rows.append(row)
    title = f"{what}cost beside loss; bits per byte minus {TRANSFORMER}'s on the first {n_bytes:,} validation bytes, "
    return Table(f"{title}± 95 % interval over seeds", rows, ("model",), _notes(costs, min(ends)))


def _time(cost: Cost) -> str:
    return NOT_MEASURED if cost.time is None else f"{'' if cost.benchmarked else '≈ '}{cost.time:.2f}"


def _cell(
    ours: Sequence[RunRecord], transformers: Sequence[RunRecord], ratio: float | None, n_bytes: int, end: int
) -> str:
    if ratio is None:
        return NOT_MEASURED
    compared = at_equal_cost(ours, transformers, ratio, n_bytes)
    if compared is None:
        return NOT_REACHED
    at = "" if compared.tokens == end else f" (at {amount(compared.tokens)})"
    return f"{compared.difference.shown('+')} {compared.difference.side}{at}"


def _notes(costs: Mapping[str, Cost], end: int) -> list[str]:
    time = (
        "time of a training step by `bench.py`, steps of the models in turn, on a device that "
        f"trained the {TRANSFORMER} (results/records/bench)"
    )
    if any(cost.time is not None and not cost.benchmarked for cost in costs.values()):
        time += "; ≈: the runs' own tokens/s, medians over seeds"
    if any(cost.time is None for cost in costs.values()):
        why = "the runs' own speeds are of one seed, of several devices, or differ by a fifth"
        time += f"; {NOT_MEASURED}: no benchmark has it, and {why}"
    return [
        f"FLOPs of a training step per token (matrix products); {time}.",
        f"Equal cost: the {TRANSFORMER} after {amount(end)} tokens, its last validation on these bytes, and a "
        "model whose token costs c times as much after 1/c of that; one that costs less at its own end, and the "
        f"{TRANSFORMER} earlier. Between validations the loss is linear in the logarithm of the tokens; nothing is "
        "extrapolated.",
        "The learning rate falls until a run's end, so a point before it lies above what a shorter run reaches: at "
        "equal cost the dearer model looks worse than it is.",
    ]
