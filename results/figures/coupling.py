"""Coupling of a network as PNG and SVG: a row a layer, a column what its mixers couple to, and the order parameter.

Legend: kappa (M, d) complex kernel, M harmonics, d coordinates, Delta phase difference in rad, Gamma (rad) increment
from one token attended with weight 1.
"""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsn.coupling import ATTENDED, SUCCESSOR, kernel_function
from measures.coupling import ATTENTION, COPYING, LOCAL, Harmonic, Kernel, Order, harmonic, heads_of
from results.evidence.coupling import by_model, stored_kernels
from results.evidence.protocol import described
from results.evidence.stored import Evaluated
from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

POINTS = 65  # of a curve
MOST_TICKS = 10  # of distances
MOST_LINES = 24  # coordinates of a panel; more could not be distinguished, and files would grow
FIRST = (ATTENTION, ATTENDED)
HEADINGS = {  # of the columns of coupling functions, in their order
    FIRST: r"attended token, $\Delta = \theta_u - \theta_t$",
    (ATTENTION, SUCCESSOR): r"its successor, $\Delta = \theta_{u+1} - \theta_t$",
    (COPYING, SUCCESSOR): r"copying head, successor, $\Delta = \theta_{u+1} - \theta_t$",
}
HARMONICS = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))  # line and marker of each, of local coupling
UNDER = 0.35  # rows; the order parameter of a copying head is drawn so far below that of its layer's attention
REFERENCE = "#555555"
MINUS, SUBSCRIPTS = "\N{MINUS SIGN}", str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def draw_coupling(model: str, title: str, found: Sequence[Kernel], order: Order, path: Path) -> list[Path]:
    """One network's figure as `path`.png and .svg; the files.

    A panel shows the mean of Gamma over coordinates (bold), the band that holds the middle 80 % of them at each Delta,
    some single ones from the weakest to the strongest (thin), and, dashed, what the mean would be were the first
    harmonic alone there, as strong in each coordinate and without frustration. The mean is where coordinates agree;
    band and lines show where some follow, some repel and some keep their phase. Words above a panel give of each
    harmonic mean |kappa|, its frustration angle, the angular deviation, and attractive or repulsive, by the sign of
    the angle's cosine, with the share of coordinates that have this sign. Of local coupling, whose signs are random at
    first, one panel shows how strong it is at each distance.
    """
    # Imported here because it is slow, and not through pyplot, which would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    n_layers = len(order.order_parameter)
    local = _local_strengths(found)
    columns: dict[tuple[str, str], dict[int, Tensor]] = {  # kind -> layer -> kappa
        kind: {k.layer: k.kappa for k in found if (k.mixer, k.coupled_to) == kind} for kind in HEADINGS
    }
    # Local coupling is drawn in the first column, in place of the attention that it replaces.
    columns = {kind: by_layer for kind, by_layer in columns.items() if by_layer or (local and kind == FIRST)}
    has_heads = any(order.order_parameter)
    width_ratios = [2.9] * len(columns) + [1.7] * has_heads
    color = STYLES.get(model, OTHER)[0]
    with rc_context(REPRODUCIBLE):
        # Room for the order parameter, or, beside a single column, for the title.
        width = 0.9 + 2.9 * len(columns) + (2.1 if has_heads or len(columns) == 1 else 0)
        figure = Figure(figsize=(width, 1.3 + 2.15 * n_layers + 0.5 * bool(local)), layout="constrained")
        grid = figure.add_gridspec(n_layers, len(width_ratios), width_ratios=width_ratios)
        first: Any = None  # of the panels of coupling functions
        for layer in range(n_layers):
            if layer in local:
                beside: Any = figure.add_subplot(grid[layer, 0])
                _local_panel(beside, local[layer], color)
                beside.set_ylim(0, 1.08 * max(float(strength.max()) for strength in local.values()) or 1)
                beside.set_ylabel(f"layer {layer}\nmean |κ| (rad)", fontsize=9.5)
                if layer == max(local):
                    beside.set_xlabel("distance (tokens)", fontsize=9.5)
            here = [kind for kind, by_layer in columns.items() if layer in by_layer]
            for kind in here:
                by_layer, leftmost = columns[kind], kind == here[0]
                place = grid[layer, list(columns).index(kind)]
                panel: Any = figure.add_subplot(place, sharex=first, sharey=first)
                first = first or panel
                _coupling_panel(panel, by_layer[layer], color)
                words = [_words(m + 1, harmonic(part)) for m, part in enumerate(by_layer[layer])]
                heading = [HEADINGS[kind]] * (layer == min(by_layer))
                panel.set_title("\n".join(heading + words), fontsize=8.5, loc="left", parse_math=True)
                panel.tick_params(labelleft=leftmost, labelbottom=layer == max(by_layer), labelsize=8.5)
                if leftmost:
                    named = "" if layer in local else f"layer {layer}\n"
                    panel.set_ylabel(f"{named}Γ(Δ) (rad)", fontsize=9.5)
                if layer == max(by_layer):
                    panel.set_xlabel("phase difference Δ (rad)", fontsize=9.5)
        if has_heads:
            _order_panel(figure.add_subplot(grid[:, len(columns)]), order, found, color)
        figure.suptitle(f"Coupling functions\n{title}", fontsize=11 if len(columns) > 1 else 9.5)
        if first is not None:
            handles, _ = first.get_legend_handles_labels()
            figure.legend(
                handles=handles,
                loc="outside lower left",
                ncols=2,
                title="Above each panel: mean |κ| over coordinates (rad), frustration angle and its"
                "\nangular deviation (s.d.), sign of the harmonic and share of coordinates that have it",
                alignment="left",
                frameon=False,
                fontsize=8.5,
                title_fontsize=8.5,
            )
        return write_figure(figure, path)


def _local_strengths(found: Sequence[Kernel]) -> dict[int, Tensor]:
    """layer -> mean |kappa| (L, M) over coordinates at distances 1..L, of the layers with local coupling."""
    by_layer: dict[int, list[Tensor]] = {}
    for kernel in found:
        if kernel.mixer == LOCAL:
            by_layer.setdefault(kernel.layer, []).append(kernel.kappa.abs().mean(-1))
    return {layer: torch.stack(strengths) for layer, strengths in by_layer.items()}


def _local_panel(panel: Any, strength: Tensor, color: str) -> None:
    """Local coupling by distance, strength (L, M): mean |kappa| over coordinates."""
    distances = range(1, len(strength) + 1)
    for m, (strengths, (line, marker)) in enumerate(zip(strength.T, cycle(HARMONICS)), start=1):
        label = f"|κ{str(m).translate(SUBSCRIPTS)}|"
        face = color if m == 1 else "white"
        look = {"color": color, "linestyle": line, "marker": marker, "markerfacecolor": face, "markersize": 5}
        panel.plot(distances, strengths, label=label, **look)
    panel.set_title("local coupling: mean |κ| by distance", fontsize=8.5, loc="left")
    panel.set_xticks(distances[:: math.ceil(len(distances) / MOST_TICKS)])
    panel.tick_params(labelsize=8.5)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="upper right", frameon=False, fontsize=8.5)


def _coupling_panel(panel: Any, kappa: Tensor, color: str) -> None:
    """Gamma of one layer and delay, kappa (M, d)."""
    difference = torch.linspace(-math.pi, math.pi, POINTS, dtype=torch.float64)
    gamma = kernel_function(kappa, difference)  # (d, P)
    sine = kappa[0].abs().mean() * difference.sin()
    panel.axhline(0, color="black", linewidth=0.5)
    panel.axvline(0, color="black", linewidth=0.5)
    low, high = gamma.quantile(torch.tensor([0.1, 0.9], dtype=gamma.dtype), dim=0)
    panel.fill_between(difference, low, high, color=color, alpha=0.18, linewidth=0, label="middle 80% of coordinates")
    by_strength = kappa.abs().sum(0).argsort()
    picked = by_strength[torch.linspace(0, len(by_strength) - 1, min(MOST_LINES, len(by_strength))).round().long()]
    thin = panel.plot(difference, gamma[picked].T, color=color, alpha=0.4, linewidth=0.6)
    thin[0].set_label("single coordinates")
    panel.plot(difference, gamma.mean(0), color=color, linewidth=2.4, label="mean over coordinates")
    sine_label = "Kuramoto of the same strength, mean |κ₁| sin Δ"
    panel.plot(difference, sine, color=REFERENCE, linestyle=(0, (4, 2)), linewidth=1.3, label=sine_label)
    panel.set_xlim(-math.pi, math.pi)
    ticks = {-math.pi: f"{MINUS}π", -math.pi / 2: f"{MINUS}π/2", 0: "0", math.pi / 2: "π/2", math.pi: "π"}
    panel.set_xticks(list(ticks), list(ticks.values()))
    # Neighbouring panels would write pi over -pi.
    panel.get_xticklabels()[0].set_ha("left")
    panel.get_xticklabels()[-1].set_ha("right")
    panel.spines[["top", "right"]].set_visible(False)


def _order_panel(panel: Any, order: Order, found: Sequence[Kernel], color: str) -> None:
    """Order parameter by layer, top down as the rows are; where there is a null slot also the weight on it."""
    n_layers = len(order.order_parameter)
    there = {(kernel.layer, kernel.mixer) for kernel in found}
    ticks = {float(layer): f"layer {layer}" + ",\nlocal" * ((layer, LOCAL) in there) for layer in range(n_layers)}
    ticks |= {layer + UNDER: "copying head" for layer, mixer in sorted(there) if mixer == COPYING}
    shown = [("order parameter", order.order_parameter, color, "o", color, "-")]
    if any(kernel.coupled_to == SUCCESSOR for kernel in found):
        shown.append(("weight on null slot", order.null, REFERENCE, "s", "white", "--"))
    for name, by_head, edge, marker, face, line in shown:
        label: str | None = name
        # Attention is one line; copying heads stand alone, under it.
        for mixer, under, joined in ((ATTENTION, 0.0, line), (COPYING, UNDER, "none")):
            layers = [layer for layer in range(n_layers) if (layer, mixer) in there]
            if not layers:
                continue
            of_layers = [by_head[layer][heads_of(mixer, found, layer)] for layer in layers]
            means = [sum(heads) / len(heads) for heads in of_layers]
            at = [layer + under for layer in layers]
            panel.plot(means, at, color=edge, marker=marker, markerfacecolor=face, linestyle=joined, label=label)
            label = None
            for mean, y, heads in zip(means, at, of_layers, strict=True):
                # Inwards from the ends of the axis, one quantity above and one below, so that equal values are both
                # read; a copying head's in front of the line of attention.
                right, below = mean < 0.5, name != "order parameter"
                panel.annotate(
                    f"{mean:.2f}",
                    (mean, y),
                    xytext=(7 if right else -7, -4 if below else 4),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="top" if below else "bottom",
                    fontsize=8.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5} if under else None,
                )
                if len(heads) > 1:
                    panel.plot(heads, [y] * len(heads), color=edge, marker="|", linestyle="none", alpha=0.7)
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(n_layers - 0.5, -0.5)
    panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.set_yticks(list(ticks), list(ticks.values()))
    panel.tick_params(labelsize=8.5)
    panel.set_xlabel("mean over tokens", fontsize=9.5)
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8.5, borderaxespad=0)


def _words(m: int, measured: Harmonic) -> str:
    size = f"|κ{str(m).translate(SUBSCRIPTS)}| {measured.strength:.2f}"
    if math.isnan(measured.angle):
        return f"{size}, no direction"
    repels = math.cos(measured.angle) < 0
    share = measured.repulsive if repels else 1 - measured.repulsive
    angle = f"{round(math.degrees(measured.angle))}° (s.d. {math.degrees(measured.deviation):.0f}°)"
    return f"{size}, {angle.replace('-', MINUS)}, {'repulsive' if repels else 'attractive'} in {share:.0%}"


def plot_coupling(evaluated: Sequence[Evaluated], path: Path) -> list[Path]:
    """Coupling functions and order parameters of each model's first seed, as `path`-MODEL.png and .svg; the files.

    UserError as of `results.evidence.coupling.by_model`.
    """
    files = []
    for model, entries in by_model(evaluated).items():
        seed = min(entries)
        shown = f"{model}, seed {seed}" + (f" (first of {len(entries)} seeds)" if len(entries) > 1 else "")
        protocol = described([record for record, _ in evaluated if record.config["model"]["name"] == model])
        own = path.with_name(f"{path.name}-{model}")
        # In two lines: a network with one column of coupling functions has a narrow figure.
        files += draw_evaluation(model, shown, entries[seed], own, protocol.replace("; ", "\n"))
    return files


def draw_evaluation(model: str, title: str, entry: dict[str, Any], path: Path, protocol: str = "") -> list[Path]:
    """The figure of one entry as `path`.png and .svg, `protocol` under its title; the files."""
    order = Order(entry["order_parameter"], entry["null"], entry["gate"])
    title = "\n".join(filter(None, [f"{title}, {entry['checkpoint']} (step {entry['step']:,})", protocol]))
    return draw_coupling(model, title, stored_kernels(entry), order, path)
