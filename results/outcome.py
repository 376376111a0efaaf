"""The result of a target, in one line. Every number in it is copied from a cell of its tables."""

from collections.abc import Callable, Sequence

from results.document import Row, Table

NOTHING = "not run yet"
LOSS = "bits per byte"
Rule = Callable[[Table], str]


def outcome(tables: Sequence[Table]) -> str:
    """The sentence of the first rule that fits a table with recorded runs; of several such tables the last."""
    recorded = [table for table in tables if table.recorded and table.rows]
    for rule in RULES:
        if sentences := [sentence for table in recorded if (sentence := rule(table))]:
            return sentences[0 if rule is _variants else -1]
    return "see the tables" if recorded else NOTHING


def _list(pairs: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name} {value}" for name, value in pairs if value)


def _column(table: Table, start: str = "", end: str = "") -> str:
    """The first column whose name begins and ends so; empty where there is none."""
    return next((column for column in table.rows[0] if column.startswith(start) and column.endswith(end)), "")


def _variants(table: Table) -> str:
    """The best row comes first, rows without a run last. The first of such tables is on the corpus of the training."""
    if not {"variant", LOSS} <= table.rows[0].keys():
        return ""
    run = [row for row in table.rows if row[LOSS] != "not run"]
    if not run:
        return ""
    minus = _column(table, "minus ")

    def said(row: Row) -> str:
        return f"{row['variant']}, {row[LOSS]}" + (f" ({minus}: {row[minus]})" if minus and row[minus] else "")

    words = f"lowest loss, {LOSS}: {said(run[0])}"
    if len(run) > 1:
        words += f"; highest: {said(run[-1])}"
    return words + ("; others not run" if len(run) < len(table.rows) else "")


def _last_differences(table: Table) -> str:
    if "difference to " not in table.title:
        return ""
    baseline = table.title.partition("difference to ")[2].split(" ")[0]
    at, *values = table.rows[-1].items()
    return f"at {at[1]}, {LOSS} minus {baseline}: {_list(values)}"


def _by_scale(table: Table) -> str:
    minus = "scale" in table.rows[0] and _column(table, end=f" minus {_baseline(table)}")
    return f"{LOSS}, {minus}: {_list([(row['scale'], row[minus]) for row in table.rows])}" if minus else ""


def _baseline(table: Table) -> str:
    return next((column.partition(" minus ")[2] for column in table.rows[0] if " minus " in column), "")


def _rates(table: Table) -> str:
    if "best rate" not in table.rows[0]:
        return ""
    return f"best peak learning rate: {_list([(row['model'], row['best rate']) for row in table.rows])}"


def _bleu(table: Table) -> str:
    return f"BLEU: {_list([(row['model'], row['BLEU']) for row in table.rows])}" if "BLEU" in table.rows[0] else ""


def _statements(table: Table) -> str:
    if "the paper says" not in table.rows[0]:
        return ""
    return "; ".join(
        f"{row['model']}, as the paper says {row['the paper says']}: {row['seen here']}" for row in table.rows
    )


def _heads(table: Table) -> str:
    minus = "when" in table.rows[0] and _column(table, end=f" minus {_baseline(table)}")
    after = [row for row in table.rows if row.get("when") == "after training"]
    if not minus or not after or "diversity of heads" not in table.title:
        return ""
    return f"diversity of heads after training, {minus}: " + _list(
        [(f"layer {row['layer']}", row[minus]) for row in after]
    )


def _recall(table: Table) -> str:
    if "steps until" not in table.title:
        return ""
    kinds = [column for column in table.rows[0] if column != "model"]
    reached = [
        (row["model"], ", ".join(kind for kind in kinds if row[kind][:1].isdigit()) or "none") for row in table.rows
    ]
    accuracy = table.title.partition("until ")[2].partition(",")[0]
    return f"kinds of strings recalled with {accuracy}: {_list(reached)}"


def _layers(table: Table) -> str:
    time = "layer" in table.rows[0] and _column(table, "time / ")
    if not time or "N" not in table.rows[0]:
        return ""
    longest = table.rows[-1]["N"]
    pairs = [(row["layer"], row[time]) for row in table.rows if row["N"] == longest]
    return f"{time} at N = {longest}: {_list(pairs)}"


def _coupling(table: Table) -> str:
    column = "order parameter"
    if column not in table.rows[0]:
        return ""
    of_model: dict[str, list[str]] = {}
    for row in table.rows:
        of_model.setdefault(row["model"], []).extend(row[column].replace("-", "").split())  # by head; "-" without any
    pairs = [(model, f"{min(values)} to {max(values)}") for model, values in of_model.items() if values]
    return f"order parameter, smallest to largest head: {_list(pairs)}"


# A rule fits by the columns or the title of a table.
RULES: tuple[Rule, ...] = (
    *(_variants, _last_differences, _by_scale, _rates, _bleu, _statements, _heads, _recall, _layers, _coupling),
)
