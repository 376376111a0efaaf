"""Loops written straight from the equations of the FSN: slow, and what the fast code must equal.

Nothing here is shared with the fast code: complex numbers instead of pairs of reals, the successor u + 1 addressed
directly instead of shifted keys, one sum after another. Legend: N tokens, H heads, d phases, M harmonics.
"""

import cmath
import math
from typing import Any, cast

import torch
from torch import Tensor

from fsn.attention import SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.layer import FSNLayer, PhaseSwiGLU
from fsn.local_coupling import LocalCoupling
from fsn.modes import CollectiveModes
from fsn.network import FSN
from fsn.phases import Observed
from fsn.translator import FSNTranslator


def gates(layer: SynchronizationAttention, theta: Tensor) -> Tensor:
    """g_c(theta_t) for one sequence theta (N, d): constant, or constant + linear in the features."""
    rows = []
    for state in theta:
        gate: Tensor = layer.gate_constant
        if layer.gate_content is not None:
            gate = gate + layer.gate_content.weight @ seen(layer.observed, state)
        rows.append(gate)
    return torch.stack(rows)


def partners(
    layer: SynchronizationAttention | CopyingHead, t: int, n: int, is_self: bool, real: list[bool]
) -> list[int]:
    """The tokens among n that token t may attend; `is_self`: t is one of them.

    Causal: those before it, and itself where no successor would then be in its future. Else all, but a copying head
    never itself. No padding, and padding itself attends to nothing.
    """
    if is_self and not real[t]:
        return []
    tokens = [u for u in range(n) if real[u]]
    copying = isinstance(layer, CopyingHead)
    if is_self and layer.causal:
        return [u for u in tokens if u < t or (u == t and not copying and not layer.delay)]
    return [u for u in tokens if not (is_self and copying and u == t)]


def attention_weights(
    layer: SynchronizationAttention,
    theta: Tensor,
    head: int,
    memory: Tensor | None = None,
    real: list[bool] | None = None,
    offset: int = 0,
) -> list[list[Tensor]]:
    """A_tu of one head for one sequence theta (N, d): row t lists the tokens that t may attend, its `partners`.

    With a delay a last entry is for the null slot if it may be attended. `memory` (M, d): what is attended to instead
    of theta, whose first token is at `offset`. `real`: False for padding of what is attended to.
    """
    d_h = layer.n_phases // layer.n_heads
    coordinates = range(head * d_h, (head + 1) * d_h)
    gate = gates(layer, theta)
    source = theta if memory is None else memory
    real = [True] * len(source) if real is None else real
    rows = []
    for t in range(len(theta)):
        scores = []
        for u in partners(layer, t, len(source), memory is None, real):
            score = theta.new_zeros(())
            for c in coordinates:
                drift = layer.rotary.base ** (-(c - head * d_h) / d_h)
                distance = offset + t - u
                score = score + gate[t, c] * torch.cos(theta[t, c] - source[u, c] + drift * distance)
            scores.append(score / math.sqrt(d_h))
        first = layer.causal and memory is None and not scores  # has nothing else to attend
        if layer.delay and (first or layer.null != "none"):
            scores.append(layer.null_score[head] if layer.null == "learned" else theta.new_zeros(()))
        weights = [score.exp() for score in scores]
        total = sum(weights)
        rows.append([weight / total for weight in weights])
    return rows


def synchronization_attention(
    layer: SynchronizationAttention,
    theta: Tensor,
    memory: Tensor | None = None,
    real: list[bool] | None = None,
    offset: int = 0,
) -> Tensor:
    """dtheta (N, d) for one sequence theta (N, d): sum over heads' tokens u, harmonics m and delays delta of
    A_tu |kappa| sin(m (theta_{u+delta} - theta_t) + arg kappa), the null slot giving nothing, nor a neighbour
    u + delta that is not there or is padding. Arguments as of `attention_weights`.
    """
    d_h = layer.n_phases // layer.n_heads
    source = theta if memory is None else memory
    real = [True] * len(source) if real is None else real
    delays = [0, 1, -1][: layer.kernel_real.shape[1]]
    increments = [[theta.new_zeros(()) for _ in range(layer.n_phases)] for _ in theta]
    for head in range(layer.n_heads):
        weights = attention_weights(layer, theta, head, memory, real, offset)
        for t in range(len(theta)):
            tokens = partners(layer, t, len(source), memory is None, real)
            for u, weight in zip(tokens, weights[t], strict=False):
                for c in range(head * d_h, (head + 1) * d_h):
                    for m in range(1, layer.harmonics + 1):
                        for entry, delta in enumerate(delays):
                            if not 0 <= u + delta < len(source) or not real[u + delta]:
                                continue
                            difference = m * (source[u + delta, c] - theta[t, c])
                            kappa_real = layer.kernel_real[m - 1, entry, c]
                            force = kappa_real * torch.sin(difference)
                            if layer.kernel_imag is not None:
                                # Im(kappa e^{i x}) = Re kappa sin x + Im kappa cos x
                                force = force + layer.kernel_imag[m - 1, entry, c] * torch.cos(difference)
                            increments[t][c] = increments[t][c] + weight * force
    return torch.stack([torch.stack(row) for row in increments])


def local_coupling(layer: LocalCoupling, theta: Tensor, real: list[bool] | None = None) -> Tensor:
    """dtheta (N, d) for one sequence theta (N, d): sum over distances tau and harmonics m of
    |kappa| sin(m (theta_{t-tau} - theta_t) + arg kappa), tau = 1..L, and -1..-L where the layer is not causal.
    `real`: False for padding.
    """
    real = [True] * len(theta) if real is None else real
    distances = [*range(1, layer.reach + 1)] + ([] if layer.causal else [-tau for tau in range(1, layer.reach + 1)])
    increments = [[theta.new_zeros(()) for _ in row] for row in theta]
    for t in range(len(theta)):
        for entry, tau in enumerate(distances):
            if not 0 <= t - tau < len(theta) or not real[t] or not real[t - tau]:
                continue
            for c in range(theta.shape[1]):
                for m in range(1, layer.harmonics + 1):
                    difference = m * (theta[t - tau, c] - theta[t, c])
                    a, b = layer.kernel_real[entry, m - 1, c], layer.kernel_imag[entry, m - 1, c]
                    # Im(kappa e^{i x}) = Re kappa sin x + Im kappa cos x
                    increments[t][c] = increments[t][c] + a * torch.sin(difference) + b * torch.cos(difference)
    return torch.stack([torch.stack(row) for row in increments])


def copying_weights(
    layer: CopyingHead, theta: Tensor, memory: Tensor | None = None, real: list[bool] | None = None
) -> list[list[Tensor]]:
    """A_tu for one sequence theta (N, d): row t lists its `partners`, and last the null slot, whose score is zero.
    Arguments as of `attention_weights`.
    """
    source = theta if memory is None else memory
    real = [True] * len(source) if real is None else real
    rows = []
    for t in range(len(theta)):
        scores = []
        for u in partners(layer, t, len(source), memory is None, real):
            score = theta.new_zeros(())
            for c in range(theta.shape[1]):
                score = score + layer.gate_constant[c] * torch.cos(theta[t, c] - source[u, c])
            scores.append(score / math.sqrt(theta.shape[1]))
        weights = [score.exp() for score in (*scores, theta.new_zeros(()))]
        total = sum(weights)
        rows.append([weight / total for weight in weights])
    return rows


def copying_head(
    layer: CopyingHead, theta: Tensor, memory: Tensor | None = None, real: list[bool] | None = None
) -> Tensor:
    """dtheta (N, d) for one sequence theta (N, d): for the last phases, which are coupled, the sum over tokens u of
    A_tu |kappa| sin(m (theta_{u+1} - theta_t) + arg kappa). A u without a successor, or with padding there, gives
    nothing. Arguments as of `attention_weights`.
    """
    weights = copying_weights(layer, theta, memory, real)
    source = theta if memory is None else memory
    real = [True] * len(source) if real is None else real
    first = theta.shape[1] - layer.n_coupled
    increments = [[theta.new_zeros(()) for _ in row] for row in theta]
    for t in range(len(theta)):
        tokens = partners(layer, t, len(source), memory is None, real)
        for u, weight in zip(tokens, weights[t], strict=False):
            if u + 1 == len(source) or not real[u + 1]:
                continue
            for c in range(first, theta.shape[1]):
                for m in range(1, layer.harmonics + 1):
                    difference = m * (source[u + 1, c] - theta[t, c])
                    a, b = layer.kernel_real[m - 1, 0, c - first], layer.kernel_imag[m - 1, 0, c - first]
                    force = a * torch.sin(difference) + b * torch.cos(difference)
                    increments[t][c] = increments[t][c] + weight * force
    return torch.stack([torch.stack(row) for row in increments])


def collective_modes(layer: CollectiveModes, theta: Tensor) -> Tensor:
    """dtheta (d,) for one state theta (d,): sum_k f_k w_kc sin(mu_kc - theta_c), or with amplitudes and angles."""
    n_modes, d = layer.pattern.shape
    listen = torch.full_like(layer.pattern, math.sqrt(2)) if layer.listen is None else layer.listen
    target = layer.pattern if layer.angle is None else layer.pattern + layer.angle
    increment = [theta.new_zeros(()) for _ in range(d)]
    for k in range(n_modes):
        coherence = theta.new_zeros(())
        for c in range(d):
            coherence = coherence + listen[k, c] * torch.cos(theta[c] - layer.pattern[k, c]) / math.sqrt(d)
        force = coherence * torch.sigmoid(coherence) * (layer.drive.weight[k] @ seen(layer.observed, theta))
        for c in range(d):
            increment[c] = increment[c] + force * layer.pull[k, c] * torch.sin(target[k, c] - theta[c])
    return torch.stack(increment)


def seen(layer: Observed, theta: Tensor) -> Tensor:
    """[cos theta, sin theta] (2d,), or cos(theta - beta) (d,), of one state theta (d,)."""
    if layer.reference is None:
        return torch.cat((theta.cos(), theta.sin()))
    return torch.cos(theta - layer.reference)


def swiglu(layer: PhaseSwiGLU, theta: Tensor) -> Tensor:
    """dtheta (d,) for one state theta (d,): sum_j down_cj silu(gate_j . f) (up_j . f), f = [cos theta, sin theta], or
    cos(theta - beta) where one quadrature is seen.
    """
    f = seen(layer.observed, theta)
    gate_up, down = layer.swiglu.gate_up.weight, layer.swiglu.down.weight
    width = down.shape[1]
    increment = torch.zeros_like(theta)
    for j in range(width):
        gate, up = gate_up[j] @ f, gate_up[width + j] @ f
        increment = increment + down[:, j] * gate * torch.sigmoid(gate) * up
    return increment


def mixer_update(
    mixer: SynchronizationAttention | LocalCoupling | CopyingHead,
    theta: Tensor,
    memory: Tensor | None = None,
    real: list[bool] | None = None,
) -> Tensor:
    """dtheta (N, d) of one mixer for one sequence theta (N, d). Arguments as of `attention_weights`."""
    if isinstance(mixer, LocalCoupling):
        return local_coupling(mixer, theta, real)
    form = copying_head if isinstance(mixer, CopyingHead) else synchronization_attention
    return form(mixer, theta, memory, real)  # type: ignore[arg-type]


def layer_update(
    layer: FSNLayer, theta: Tensor, memory: Tensor | None = None, real: list[bool] | None = None
) -> Tensor:
    """theta (N, d) of one sequence after a layer: first the coupling of tokens, then that to a memory (M, d), then each
    token's feed-forward. `real`: False for padding of the memory or, where there is none, of theta.
    """
    own = real if memory is None else None
    increments = [mixer_update(mixer, theta, None, own) for mixer in layer.mixers().values()]
    for increment in increments:
        theta = theta + increment
    increments = [mixer_update(cross, theta, memory, real) for cross in layer.crosses().values()]
    for increment in increments:
        theta = theta + increment
    block = layer.feed_forward
    rows = [swiglu(block, s) if isinstance(block, PhaseSwiGLU) else collective_modes(block, s) for s in theta]
    if layer.increment_limit is not None:
        rows = [limited(row, layer.increment_limit) for row in rows]
    return theta + torch.stack(rows)


def limited(increment: Tensor, limit: float) -> Tensor:
    """dtheta (d,) of one feed-forward, x_c / sqrt(1 + (1/d) sum_c x_c^2 / limit^2)."""
    square = increment.new_zeros(())
    for x in increment:
        square = square + x * x / len(increment)
    return torch.stack([x / torch.sqrt(1 + square / limit**2) for x in increment])


def readout(model: FSN, theta: Tensor) -> Tensor:
    """Logits (V,) of one state theta (d,): W [cos theta, sin theta], or tied to the embedding's phases phi,
    beta sum_c cos(theta_c - phi_vc) for byte v with one inverse temperature beta.
    """
    logits = []
    readout: Any = model.readout
    for v, phases in enumerate(model.embedding.weight):
        logit = theta.new_zeros(())
        for c in range(len(theta)):
            if readout is None:
                logit = logit + model.readout_scale * torch.cos(theta[c] - phases[c])
            else:
                on_cos, on_sin = readout.weight[v, c], readout.weight[v, c + len(theta)]
                logit = logit + on_cos * torch.cos(theta[c]) + on_sin * torch.sin(theta[c])
        logits.append(logit)
    return torch.stack(logits)


def network(model: FSN, tokens: Tensor) -> Tensor:
    """Logits (N, V) of one sequence of tokens (N,): embedding, layers, readout."""
    theta = torch.stack([model.embedding.weight[token] for token in tokens])
    for layer in model.layers:
        theta = layer_update(cast(FSNLayer, layer), theta)
    return torch.stack([readout(model, state) for state in theta])


def translation(model: FSNTranslator, source: Tensor, inputs: Tensor, real: list[bool]) -> Tensor:
    """Logits (N, V) of one target inputs (N,) beside one source (M,) with padding where `real` is False."""
    decoder = model.decoder
    memory = torch.stack([decoder.embedding.weight[token] for token in source])
    for layer in model.encoder:
        memory = layer_update(cast(FSNLayer, layer), memory, None, real)
    theta = torch.stack([decoder.embedding.weight[token] for token in inputs])
    for layer in decoder.layers:
        theta = layer_update(cast(FSNLayer, layer), theta, memory, real)
    return torch.stack([readout(decoder, state) for state in theta])


def coupling(kernel: list[complex], difference: float) -> float:
    """Gamma(Delta) of one coordinate and delay, kernel[m-1] = kappa_m: sum_m |kappa_m| sin(m Delta + arg kappa_m)."""
    return sum(abs(k) * math.sin(m * difference + cmath.phase(k)) for m, k in enumerate(kernel, start=1))
