"""Time, memory and operations of attention layers against length, as PNG and SVG."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from results.figures.style import REPRODUCIBLE, write_figure
from training.benchmarks.layers import LayerTiming

# As results.figures.curves: Okabe and Ito's colours, and markers and lines that differ in grey print too.
LAYER_STYLES: dict[str, tuple[str, Any, str]] = {
    "sdpa": ("#56B4E9", "--", "x"),
    "sdpa_bidirectional": ("#666666", (0, (3, 1, 1, 1)), "+"),
    "softmax_explicit": ("#882255", (0, (3, 1, 1, 1, 1, 1)), "*"),
    "transformer": ("#0072B2", "--", "s"),
    "fsn": ("#D55E00", "-", "o"),
    "ssa": ("#E69F00", "-", "v"),
    "ssa_osn": ("#009E73", (0, (5, 1, 1, 1)), "P"),
    "ssa_bidirectional": ("#000000", (0, (1, 1)), "<"),
    "ssa_dense": ("#999999", ":", "^"),
    "published": ("#CC79A7", "-.", "D"),
    "transformer_block": ("#0072B2", "--", "s"),
    "osn_block": ("#009E73", (0, (5, 1, 1, 1)), "P"),
    "published_block": ("#CC79A7", "-.", "D"),
}


def plot_layers(
    timings: Sequence[LayerTiming], path: Path, flops: Mapping[tuple[str, int], int] | None = None, title: str = ""
) -> list[Path]:
    """Panels of milliseconds and MiB against tokens, on log axes; the files written: `path`.png and .svg.

    `flops`: of each layer and length, operations a token; with them there is a third panel.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, NullLocator

    shown: list[tuple[str, Callable[[LayerTiming], float]]] = [
        ("time (ms)", lambda t: 1e3 * t.seconds),
        ("peak memory (MiB)", lambda t: t.peak_memory_bytes / 2**20),
    ]
    if flops is not None:
        shown.append(("forward FLOPs per token (millions)", lambda t: flops[t.layer, t.tokens] / 1e6))
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(3.6 * len(shown), 4.2), layout="constrained")
        axes: Any = figure.subplots(1, len(shown))
        for panel, (quantity, of) in zip(axes, shown, strict=True):
            for name in dict.fromkeys(t.layer for t in timings):
                color, line, marker = LAYER_STYLES[name]
                own = [t for t in timings if t.layer == name]
                panel.plot(
                    [t.tokens for t in own],
                    [of(t) for t in own],
                    color=color,
                    linestyle=line,
                    marker=marker,
                    markersize=4.5,
                    linewidth=1.5,
                    label=name,
                )
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks(sorted({t.tokens for t in timings}))
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            panel.xaxis.set_minor_locator(NullLocator())
            lowest, highest = panel.get_ylim()
            if highest < 10 * lowest:  # 20 may be too far: a tick at 15 too
                panel.yaxis.set_minor_locator(LogLocator(subs=(1.5, *range(2, 10))))
            panel.yaxis.set_minor_formatter(
                LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5))
            )  # 6 where there are few decades
            panel.set_xlabel("tokens")
            panel.set_title(quantity, fontsize=10)
            panel.grid(alpha=0.25, linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, fontsize=12)
        handles, labels = axes[0].get_legend_handles_labels()
        look: dict[str, Any] = {"frameon": False, "fontsize": 9.5, "handlelength": 3.2}
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), **look)
        return write_figure(figure, path)
