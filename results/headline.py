"""What the report opens with: the table and the figure of one protocol, as README.md has them, and what they mean.

The protocol is 8 M tokens of enwiki2015 at 1 M parameters, each model at the best learning rate that was tried for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measures.statistics import NOT_SIGNIFICANT, Estimate, difference_over_seeds, mean_over_seeds
from results.document import Document, Row, Table
from results.evidence.cost import at_equal_cost, relative_cost
from results.evidence.curves import curve_bytes
from results.evidence.runs import COMMITTED
from results.evidence.settings import TRANSFORMER, same_data
from results.figures.curves import drawn, plot_curves
from training.run_record.record import RunRecord, load_record

HELPED = "transformer with lag heads, one of them with delayed keys"
# Row of the table -> the files of its records in results/records, one a seed.
RECORDS = {
    "fsn": "enwiki2015-1m-8m-local/fsn-lr0.006-seed?.json",
    "osn": "enwiki2015-1m-8m/osn-lr0.002.json",
    HELPED: "enwiki2015-1m-8m-local/transformer-lag4-delayed1-lr0.003-seed?.json",
    "fsn_native": "enwiki2015-1m-8m-local/fsn_native-mean_field-lr0.006-seed0.json",
    TRANSFORMER: "enwiki2015-1m-8m*/transformer-lr0.002*.json",
    "kuramoto": "enwiki2015-1m-8m-local/kuramoto-lr0.003-seed0.json",
}
# What the short names stand for.
NAMES = {
    "fsn_native": "fsn_native, an FSN without MLP",
    TRANSFORMER: "transformer, RoPE and SwiGLU",
    "kuramoto": "kuramoto, the base layer of FSN",
}
FIGURE = "headline"  # the name of its files
MINUS = str.maketrans("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Headline:
    """The document, and the records behind it by their files."""

    document: Document
    records: dict[Path, RunRecord]


def headline(folder: Path) -> Headline:
    """The headline, its figure written into `folder`. UserError for a record that cannot be read."""
    files = {name: sorted(COMMITTED.glob(pattern)) for name, pattern in RECORDS.items()}
    runs = {name: [load_record(path) for path in paths] for name, paths in files.items()}
    same_data([record for of_model in runs.values() for record in of_model])
    document = Document(FIGURE, "Does attention by synchronization beat a fairly tuned transformer?")
    document.tables.append(_table(runs))
    document.notes += meaning(runs)
    shown = [record for name, of_model in runs.items() if name != HELPED for record in of_model]
    plot_curves(shown, folder / FIGURE)
    document.figures.append((FIGURE, f"Validation loss against training tokens; {drawn(shown)}."))
    records = {path: record for name, paths in files.items() for path, record in zip(paths, runs[name], strict=True)}
    return Headline(document, records)


def _table(runs: dict[str, list[RunRecord]]) -> Table:
    transformers = runs[TRANSFORMER]
    rows = []
    for name in sorted(runs, key=lambda name: mean_over_seeds(losses(runs[name])).value):
        own = name == TRANSFORMER
        cost = relative_cost(runs[name], transformers)
        difference = difference_over_seeds(losses(runs[name]), losses(transformers))
        row: Row = {
            "model": NAMES.get(name, name),
            "bits per byte": mean_over_seeds(losses(runs[name])).shown(),
            f"minus {TRANSFORMER}": "" if own or difference is None else _signed(difference),
            "FLOPs": f"{cost.flops:.2f}",
            "CPU time": "1.00" if own else "" if cost.time is None else f"{cost.time:.2f}",
        }
        rows.append(row)
    first = transformers[0]
    final = first.final or {}
    title = (
        f"Loss on the first {final['bytes']:,} validation bytes of {first.data.name} (English Wikipedia) after "
        f"{final['tokens']:,} training tokens of one byte, {first.config['scale']['name']} parameters, context "
        f"{first.config['data']['context']}"
    )
    notes = [
        "± is a 95 % interval over three seeds; a row without it is one seed. Less is better.",
        "FLOPs and CPU time are those of a training step over the transformer's (batch 8, one core); an empty cell was "
        "not measured.",
    ]
    return Table(title, rows, ("model",), notes)


def losses(runs: Sequence[RunRecord]) -> list[float]:
    """The final bits per byte of each."""
    return [float(run.final["bits_per_byte"]) for run in runs if run.final]


def _signed(difference: Estimate) -> str:
    return difference.shown("+", 3).translate(MINUS)


def meaning(runs: dict[str, list[RunRecord]]) -> list[str]:
    """What the table means, in plain sentences; the words of each comparison follow from its interval."""
    transformers = runs[TRANSFORMER]
    level = mean_over_seeds(losses(transformers)).value

    def against(name: str) -> tuple[str, str]:
        difference = difference_over_seeds(losses(runs[name]), losses(transformers))
        assert difference is not None, "every row of the headline has a run"
        seeds = "" if len(runs[name]) > 1 else ", one seed"
        return _worded(difference), f"{abs(difference.value) / level:.0%} of the loss{seeds}".replace("%", " %")

    (fsn, fsn_share), (osn, osn_share) = against("fsn"), against("osn")
    n_bytes = curve_bytes([record for of_model in runs.values() for record in of_model])
    cost = relative_cost(runs["fsn"], transformers)
    equal = [
        f"at equal {what} it ends {_worded(compared.difference)} the transformer"
        for what, ratio in (("FLOPs", cost.flops), ("CPU time", cost.time))
        if ratio is not None and (compared := at_equal_cost(runs["fsn"], transformers, ratio, n_bytes)) is not None
    ]
    return [
        f"After the same training tokens, fsn ends {fsn} a transformer of the same size ({fsn_share}), "
        f"and osn ends {osn} it ({osn_share}).",
        *([f"A training step of fsn costs more: {', and '.join(equal)}."] if equal else []),
        "Both results rest on parts that neither paper describes. In fsn these are local coupling in the first layer, "
        "a head that copies in the last, and one quadrature of each phase instead of two; in osn, queries that lag "
        "some tokens behind and a head with delayed keys.",
        "The result depends on the task. Each line below says how it came out at other sizes, on source code, in "
        "recall and in translation.",
    ]


def _worded(difference: Estimate) -> str:
    """`0.087 ± 0.017 bits per byte below`; without an interval over seeds the sign of the value decides."""
    side = difference.side if difference.side in ("below", "above") else "below" if difference.value < 0 else "above"
    unsure = " (not significantly)" if difference.side == NOT_SIGNIFICANT else ""
    return f"{Estimate(abs(difference.value), difference.half_width).shown(digits=3)} bits per byte{unsure} {side}"
