"""Coupling functions of a network as PNG and SVG: a row a layer, a column a delay, and the order parameter by layer.

Legend: kappa (layers, M, delays, d) complex kernels, Delta phase difference in rad, Gamma (rad) increment from one
token attended with weight 1.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsn.coupling import kernel_function
from measures.coupling import Harmonic, Order, harmonic
from results.evidence.coupling import by_model, kernel
from results.evidence.stored import Evaluated
from results.figures.style import OTHER, REPRODUCIBLE, STYLES, write_figure

POINTS = 65  # of a curve
MOST_LINES = 24  # coordinates of a panel; more could not be distinguished, and files would grow
DELAYS = (r"attended token, $\Delta = \theta_u - \theta_t$", r"its successor, $\Delta = \theta_{u+1} - \theta_t$")
REFERENCE = "#555555"
MINUS, SUBSCRIPTS = "\N{MINUS SIGN}", str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def draw_coupling(model: str, title: str, kappa: Tensor, order: Order, path: Path) -> list[Path]:
    """One network's figure as `path`.png and .svg; the files.

    A panel shows the mean of Gamma over coordinates (bold), the band that holds the middle 80 % of them at each Delta,
    some single ones from the weakest to the strongest (thin), and, dashed, what the mean would be were the first
    harmonic alone there, as strong in each coordinate and without frustration. The mean is where coordinates agree;
    band and lines show where some follow, some repel and some keep their phase. Words above a panel give of each
    harmonic mean |kappa|, its frustration angle, the angular deviation, and attractive or repulsive, by the sign of
    the angle's cosine, with the share of coordinates that have this sign.
    """
    # Imported here because it is slow, and not through pyplot, which would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    n_layers, _, n_delays, _ = kappa.shape
    color = STYLES.get(model, OTHER)[0]
    with rc_context(REPRODUCIBLE):
        figure = Figure(figsize=(0.9 + 2.9 * n_delays + 2.1, 1.3 + 2.15 * n_layers), layout="constrained")
        grid = figure.add_gridspec(n_layers, n_delays + 1, width_ratios=[2.9] * n_delays + [1.7])
        first: Any = None
        for layer in range(n_layers):
            for delay in range(n_delays):
                panel: Any = figure.add_subplot(grid[layer, delay], sharex=first, sharey=first)
                first = first or panel
                _coupling_panel(panel, kappa[layer, :, delay], color)
                words = [_words(m + 1, harmonic(part)) for m, part in enumerate(kappa[layer, :, delay])]
                panel.set_title("\n".join([DELAYS[delay]] * (layer == 0) + words), fontsize=8.5, loc="left")
                panel.tick_params(labelleft=delay == 0, labelbottom=layer == n_layers - 1, labelsize=8.5)
                if delay == 0:
                    panel.set_ylabel(f"layer {layer}\nΓ(Δ) (rad)", fontsize=9.5)
                if layer == n_layers - 1:
                    panel.set_xlabel("phase difference Δ (rad)", fontsize=9.5)
        _order_panel(figure.add_subplot(grid[:, n_delays]), order, color, null=n_delays > 1)
        figure.suptitle(f"Coupling functions: {title}", fontsize=11)
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


def _order_panel(panel: Any, order: Order, color: str, null: bool) -> None:
    """Order parameter by layer, top down as the rows are; where there is a null slot also the weight on it."""
    layers = range(len(order.order_parameter))
    shown = [("order parameter", order.order_parameter, color, "o", color, "-")]
    if null:
        shown.append(("weight on null slot", order.null, REFERENCE, "s", "white", "--"))
    for name, by_head, edge, marker, face, line in shown:
        means = [sum(heads) / len(heads) for heads in by_head]
        panel.plot(means, layers, color=edge, marker=marker, markerfacecolor=face, linestyle=line, label=name)
        for layer, heads in zip(layers, by_head, strict=True):
            at = (means[layer], layer)
            # Inwards from the ends of the axis, one quantity above and one below, so that equal values are both read.
            right, below = means[layer] < 0.5, name != "order parameter"
            panel.annotate(
                f"{means[layer]:.2f}",
                at,
                xytext=(7 if right else -7, -4 if below else 4),
                textcoords="offset points",
                ha="left" if right else "right",
                va="top" if below else "bottom",
                fontsize=8.5,
            )
            if len(heads) > 1:
                panel.plot(heads, [layer] * len(heads), color=edge, marker="|", linestyle="none", alpha=0.7)
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(len(layers) - 0.5, -0.5)
    panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.set_yticks(layers, [f"layer {layer}" for layer in layers])
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
        files += draw_evaluation(model, shown, entries[seed], path.with_name(f"{path.name}-{model}"))
    return files


def draw_evaluation(model: str, title: str, entry: dict[str, Any], path: Path) -> list[Path]:
    """The figure of one entry as `path`.png and .svg; the files."""
    order = Order(entry["order_parameter"], entry["null"], entry["gate"])
    title = f"{title}, {entry['checkpoint']} (step {entry['step']:,})"
    return draw_coupling(model, title, kernel(entry), order, path)
