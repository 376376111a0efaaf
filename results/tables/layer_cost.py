"""Throughput, memory and operations of attention layers against length: tables and figures from measurements.

Time and memory were measured; operations are counted here, from the layers as they are now (`forward_flops`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.counted import counted
from configs.errors import UserError
from configs.schema import BLOCKS, LAYERS
from results.document import Document, Row, Table
from results.evidence.layer_measurements import PROFILES, Measurement, grouped, measurement_files, read_measurement
from results.figures.layers import plot_layers
from training.benchmarks.layers import FIT_FROM, LayerTiming, forward_flops, growth

TITLE = "Throughput, memory and FLOPs of attention layers against length"

Flops = Mapping[tuple[str, int], int]  # (layer, tokens) -> operations a token


def layer_cost_document(profile: str | None, benches: Path, folder: Path) -> Document:
    """The document: tables and a figure for each protocol among the files of a profile in `benches`, without a profile
    among the committed ones. Raises UserError for measurements of one protocol that do not fit together.
    """
    document = Document("ssa-cost", TITLE)
    measurements = []
    for path in measurement_files(profile, benches):
        try:
            measurements.append(read_measurement(path))
        except UserError as error:
            document.notes.append(f"Left out: {error}.")
    for group in grouped(measurements):
        add_layer_cost(group, document, folder)
    if not measurements:
        rows = [{"layer": name, "N": "", "tokens/s": "not run"} for name in LAYERS]
        title = "Attention layers against length"
        document.tables.append(Table(title, rows, ("layer",), recorded=False))
        command = f"python -m results.target table-ssa-cost profile={profile or '|'.join(PROFILES)}"
        document.not_run.append((title, command))
        document.notes.append(f"Nothing is measured; `{command}` measures.")
    return document


def add_layer_cost(group: Sequence[Measurement], document: Document, folder: Path) -> None:
    """Add the tables, the figure and the notes of measurements of one protocol to the document."""
    first = group[0]
    config, unit = first.config, first.unit
    D, H = int(config["d_model"]), int(config["n_heads"])
    order = list(dict.fromkeys(name for one in group for name in one.config["layers"]))
    timings = sorted((t for one in group for t in one.timings), key=lambda t: (order.index(t.layer), t.tokens))
    flops = {(t.layer, t.tokens): forward_flops(t.layer, D, H, t.tokens) for t in timings}
    what = "forward and backward" if config["backward"] else "forward pass without gradients"
    of = f"{what} of 1 x N x {D}, {counted(H, 'head')}, on {first.where}, precision {config['precision']}"
    rounds = " and ".join(dict.fromkeys(str(one.config["rounds"]) for one in group))
    things = "Blocks with a feed-forward" if unit in BLOCKS else "Attention layers"
    title = f"{things}, {of}: medians of {rounds} rounds, and ratios to {unit}"
    rows = [_row(t, timings, flops, unit) for t in timings]
    document.tables.append(Table(title, rows, ("layer",), _notes(timings, flops), _data(timings, flops, first)))
    if grown := [row for name in order if (row := _growth(name, timings)) is not None]:
        title = f"Growth with length, {of}: b of a N^b, fitted from {FIT_FROM:,} tokens on"
        document.tables.append(Table(title, grown, ("layer", "fitted at N =")))
    stem = f"ssa-cost-{first.path.stem.removeprefix('layers-')}"
    plot_layers(timings, folder / stem, flops, f"{things}: {of}")
    caption = f"{things}, {of}; those with the same count of operations lie on one line"
    document.figures.append((stem, caption))
    document.notes += [_provenance(one) for one in group]
    if len(group) > 1:
        document.notes.append("Files of one table are passes, one after another: ratios are taken within a pass.")


def _row(t: LayerTiming, timings: Sequence[LayerTiming], flops: Flops, unit: str) -> Row:
    base = next((u for u in timings if (u.layer, u.tokens) == (unit, t.tokens)), None)
    mega = flops[t.layer, t.tokens] / 1e6
    row = {
        "layer": t.layer,
        "N": f"{t.tokens:,}",
        "tokens/s": f"{t.tokens / t.seconds:,.0f}",
        f"time / {unit}": f"{t.ratio:.2f}",
        "peak MiB": f"{t.peak_memory_bytes / 2**20:,.1f}",
        f"memory / {unit}": "",
        "forward MFLOPs per token": f"{mega:,.3f}",
        f"FLOPs / {unit}": "",
    }
    if base is not None:
        row[f"memory / {unit}"] = f"{t.peak_memory_bytes / base.peak_memory_bytes:.2f}"
        row[f"FLOPs / {unit}"] = f"{flops[t.layer, t.tokens] / flops[unit, t.tokens]:.3f}"
    return row


def _growth(layer: str, timings: Sequence[LayerTiming]) -> Row | None:
    """None for a layer that was measured at fewer than two of the lengths that count."""
    time, memory = growth(timings, layer, lambda t: t.seconds), growth(timings, layer, lambda t: t.peak_memory_bytes)
    if time is None or memory is None:
        return None
    lengths = ", ".join(f"{t.tokens:,}" for t in timings if t.layer == layer and t.tokens >= FIT_FROM)
    return {"layer": layer, "time": f"{time:.2f}", "memory": f"{memory:.2f}", "fitted at N =": lengths}


def _notes(timings: Sequence[LayerTiming], flops: Flops) -> list[str]:
    notes = [
        "tokens/s: N over the median time of one layer. Ratios of time are medians of the ratios within a round, which "
        "a slow round of a shared machine leaves alone; the quotient of two median times may differ. Peak memory: "
        "tensors held at once, above weights and input. FLOPs: matrix products of the forward pass, over the whole "
        "window, masked half included; what is done elementwise on each pair is not counted. What is "
        "called `published` or `..._bidirectional` is bidirectional, all else causal."
    ]
    both = [n for name, n in flops if name == "ssa_osn" and ("sdpa", n) in flops]
    ours = {n: flops["ssa_osn", n] / flops["sdpa", n] - 1 for n in both}
    if ours:
        counts = ", ".join(f"{100 * change:+.1f} % at {n:,} tokens" for n, change in sorted(ours.items()))
        notes.append(
            f"Forward, by this count, OSN's layer (`ssa_osn`) takes against softmax attention (`sdpa`): {counts}."
            + " Both have four projections, scores and a mix; what differs is the positional part of the frequencies."
        )
    memory = {(t.layer, t.tokens): t.peak_memory_bytes for t in timings}
    shared = [n for name, n in memory if name == "softmax_explicit" and n >= FIT_FROM and ("ssa_osn", n) in memory]
    if shared:
        shares = ", ".join(f"{memory['ssa_osn', n] / memory['softmax_explicit', n]:.2f} at {n:,}" for n in shared)
        notes.append(
            "`softmax_explicit` is `sdpa` without a fused kernel: it holds the N x N matrices. OSN's layer takes this "
            f"share of its peak memory: {shares} tokens."
        )
    longest = max(t.tokens for t in timings)
    measured = {t.layer for t in timings if t.tokens == longest}
    expected = BLOCKS if measured <= set(BLOCKS) else LAYERS
    if absent := [name for name in expected if name not in measured]:
        notes.append(f"Not measured at {longest:,} tokens: {', '.join(absent)}.")
    return notes


def _data(timings: Sequence[LayerTiming], flops: Flops, of: Measurement) -> list[dict[str, Any]]:
    same = {"device": of.device} | {key: of.config[key] for key in ("precision", "backward", "d_model", "n_heads")}
    return [
        same
        | {"layer": t.layer, "tokens": t.tokens, "seconds": t.seconds, "tokens_per_second": t.tokens / t.seconds}
        | {"time_ratio": t.ratio, "peak_memory_bytes": t.peak_memory_bytes, "forward_flops": flops[t.layer, t.tokens]}
        for t in timings
    ]


def _provenance(one: Measurement) -> str:
    commit = (one.git.get("commit") or "no git")[:7] + (" with uncommitted changes" if one.git.get("dirty") else "")
    return f"{one.path.name}: torch {one.versions.get('torch', 'unknown')}, commit {commit}."
