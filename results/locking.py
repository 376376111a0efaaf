"""How much heads of Selective Synchronization Attention lock, layer by layer, as training goes.

The locked fraction is that of `synchrony_at_start`, before the first step, and of the validations (`synchrony` of a
metric row): of the pairs a causal head may lock on the first windows of the validation split, those that it weighs at
all.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.document import Document, Table
from results.evidence import Evidence, Run
from results.figure_file import REPRODUCIBLE, write_figure
from results.seeds import spread
from results.tables import Row

MEASURE = "locked_fraction"
LEAST = 1e-4  # that a logarithmic axis shows
# By the number of the head: colours of Okabe and Ito, told apart by the colour-blind, and lines, told apart in grey.
HEADS: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#56B4E9", "-"),
    ("#E69F00", "--"),
)


def build_locking(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add the locked fraction by layer, from the start, and a figure of it by head; nothing without such runs."""
    runs = [run for run in evidence.runs if _rows(run)]
    for variant in dict.fromkeys(run.row or run.model for run in runs):
        of_variant = [run for run in runs if (run.row or run.model) == variant]
        wanted = sum((run.row or run.model) == variant for run in evidence.runs)
        title = f"{variant}: locked fraction over training, on the windows of {evidence.corpus}: mean "
        title += "over heads ± standard deviation over seeds (least to largest head, each a mean over seeds)"
        document.tables.append(Table(title, _table(of_variant, wanted), ("tokens",), data=_data(variant, of_variant)))
        name = f"{stem}-locking" if variant == of_variant[0].model else f"{stem}-locking-{variant.replace(' ', '-')}"
        plot_locking(of_variant, folder / name, f"{evidence.corpus}, {variant}")
        caption = f"{evidence.corpus}, {variant}: locked fraction over training, a line for each head of each seed"
        caption += f"; less than {LEAST:g} is drawn as that"
        document.figures.append((name, caption))


def add_ends(evidence: Evidence, document: Document) -> None:
    """Add the locked fraction by layer as first and as last measured, a line for each variant; or nothing."""
    runs = [run for run in evidence.runs if _rows(run)]
    lines: list[Row] = []
    for variant in dict.fromkeys(run.row or run.model for run in runs):
        of_variant = [run for run in runs if (run.row or run.model) == variant]
        wanted = sum((run.row or run.model) == variant for run in evidence.runs)
        whole = _table(of_variant, wanted)
        lines += [{"variant": variant, **row} for row in (whole if len(whole) < 2 else (whole[0], whole[-1]))]
    if lines:
        columns = list(dict.fromkeys(column for line in lines for column in line))
        title = f"locked fraction as first and as last measured, windows of {evidence.corpus}: mean "
        title += "over heads ± standard deviation over seeds (least to largest head, each a mean over seeds)"
        rows = [{column: line.get(column, "no such layer") for column in columns} for line in lines]
        document.tables.append(Table(title, rows, ("variant",)))


def plot_locking(runs: Sequence[Run], path: Path, title: str) -> list[Path]:
    """A panel for each layer, a line for each head of each run; the files written: `path`.png and .svg."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    n_layers = max(len(row[MEASURE]) for run in runs for row in _rows(run))
    n_heads = max(len(heads) for run in runs for row in _rows(run) for heads in row[MEASURE])
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(max(5.0, 2.9 * n_layers), 3.6), layout="constrained")
        panels: Any = figure.subplots(1, n_layers, sharey=True, squeeze=False)[0]
        for layer, panel in enumerate(panels):
            for run in runs:
                rows = [row for row in _rows(run) if layer < len(row[MEASURE])]
                for head in range(len(rows[0][MEASURE][layer]) if rows else 0):
                    color, line = HEADS[head % len(HEADS)]
                    values = [max(row[MEASURE][layer][head], LEAST) for row in rows]
                    panel.plot(
                        [row["tokens"] / 1e6 for row in rows], values, color=color, linestyle=line, linewidth=1.3
                    )
            panel.set_yscale("log")
            panel.set_title(f"layer {layer}", fontsize=10)
            panel.set_xlabel("training tokens (millions)")
            panel.grid(alpha=0.25, linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("locked fraction of pairs")
        handles = [
            Line2D([], [], color=HEADS[k % len(HEADS)][0], linestyle=HEADS[k % len(HEADS)][1], label=f"head {k}")
            for k in range(n_heads)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(n_heads, 6), frameon=False, fontsize=9)
        figure.suptitle(title, fontsize=11)
        return write_figure(figure, path)


def _rows(run: Run) -> list[dict[str, Any]]:
    """When a run says what its heads lock, from its start: step, tokens, and `MEASURE` by layer and head."""
    if run.record is None:
        return []
    start = {"step": 0, "tokens": 0, "synchrony": run.record.synchrony_at_start}
    rows = [start, *run.record.rows("validation")]
    return [
        {"step": row["step"], "tokens": row["tokens"], MEASURE: row["synchrony"][MEASURE]}
        for row in rows
        if MEASURE in row.get("synchrony", {})
    ]


def _table(runs: Sequence[Run], wanted: int) -> list[Row]:
    """A row for the start and each validation, a column for each layer."""
    at: dict[int, dict[int, list[list[float]]]] = {}  # tokens -> seed -> layer -> head
    for run in runs:
        for row in _rows(run):
            at.setdefault(row["tokens"], {})[run.seed] = row[MEASURE]
    made = []
    for tokens, by_seed in sorted(at.items()):
        line = {"tokens": f"{tokens:,}"}
        for layer in range(max(map(len, by_seed.values()))):
            heads = {seed: layers[layer] for seed, layers in by_seed.items() if layer < len(layers)}
            least, largest = (statistics.mean(map(of, heads.values())) for of in (min, max))
            mean = spread({seed: statistics.mean(values) for seed, values in heads.items()}, wanted, digits=3)
            line[f"layer {layer}"] = f"{mean} ({least:.3f} to {largest:.3f})"
        made.append(line)
    return made


def _data(variant: str, runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [
        {"variant": variant, "model": run.model, "seed": run.seed, "step": row["step"], "tokens": row["tokens"]}
        | {"layer": layer, "head": head, MEASURE: value}
        for run in runs
        for row in _rows(run)
        for layer, heads in enumerate(row[MEASURE])
        for head, value in enumerate(heads)
    ]
