"""The budget: shapes solved so that every model has the promised number of parameters; models built from config.

Parameters and floating-point operations are counted on the meta device: nothing is allocated.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, bmm_flop

from baseline import Transformer
from configs.errors import UserError
from configs.schema import FSNConfig, ModelConfig, OptimConfig, OSNConfig, RunConfig, TransformerConfig
from fsn import FSN
from ssa import OSN


def build_model(model: ModelConfig, vocabulary_size: int) -> nn.Module:
    """The language model that a resolved config describes, initialised from torch's global generator.

    Raises UserError when the shape is impossible, for example a width that its heads do not divide.
    """
    try:
        if isinstance(model, TransformerConfig):
            return Transformer(
                vocabulary_size,
                model.width,
                model.n_layers,
                model.n_heads,
                model.ff_width,
                rope_base=model.rope_base,
                delayed_heads=model.delayed_heads,
            )
        if isinstance(model, FSNConfig):
            return FSN(
                vocabulary_size,
                model.width,
                model.n_layers,
                model.n_heads,
                model.ff_width,
                harmonics=model.harmonics,
                delay=model.delay,
                frustration=model.frustration,
                kernel=model.kernel,
                coupling=model.coupling,
                gate=model.gate,
                gate_spread=model.gate_spread,
                null=model.null,
                feed_forward=model.feed_forward,
                readout=model.readout,
                grading=model.grading,
                rope_base=model.rope_base,
            )
        if isinstance(model, OSNConfig):
            return OSN(
                vocabulary_size,
                model.width,
                model.n_layers,
                model.n_heads,
                model.ff_width,
                feed_forward=model.feed_forward,
                theta=model.theta,
                learn_theta=model.learn_theta,
                position=model.position,
                n_drifts=model.drifts,
                drift_base=model.drift_base,
                position_share=model.position_share,
                delayed_heads=model.delayed_heads,
                lag=model.lag,
                floor=model.floor,
                query_frequency=model.query_frequency,
                frequency_width=model.frequency_width,
                start=model.start,
                locked_fraction=model.locked_fraction,
                calibration_length=model.calibration_length or 256,
                alpha=model.alpha,
                K=model.K,
                top_k=model.top_k,
            )
    except ValueError as error:
        hint = (
            "; set model.width and model.n_heads"
            if "split into" in str(error)
            else f"; set model.{str(error).partition('=')[0]}"
        )
        raise UserError(f"model={model.name}: {error}{hint}") from error
    raise UserError(f"model={model.name} is not a language model")


def resolve_shape(config: RunConfig, vocabulary_size: int) -> RunConfig:
    """The config with its shape and peak learning rate filled in: from what is set, then tuned, then the scale.

    `ff_width` is solved from the parameter budget, in which it is linear. Resolving twice changes nothing.
    Raises UserError when the budget cannot be met to within the scale's tolerance.
    """
    scale, model = config.scale, config.model
    tuned = model.tuned.get(scale.name)
    shape: dict[str, Any] = {}
    for name in ("width", "n_layers", "n_heads"):
        shape[name] = next(
            value
            for value in (getattr(model, name), getattr(tuned, name, None), getattr(scale, name))
            if value is not None
        )
    lr = config.optim.lr if config.optim.lr is not None else getattr(tuned, "lr", None)
    if lr is None:
        raise UserError(f"model={model.name} has no tuned learning rate at scale={scale.name}; set optim.lr=0.003")
    embedding_lr = next(
        multiple
        for multiple in (config.optim.embedding_lr, getattr(tuned, "embedding_lr", None), 1.0)
        if multiple is not None
    )
    model = replace(model, **shape)
    if isinstance(model, OSNConfig) and model.calibration_length is None:
        model = replace(model, calibration_length=config.data.context)
    if model.ff_width is None:
        model = replace(model, ff_width=_solve_ff_width(model, config, vocabulary_size))
    total = count_parameters(model, vocabulary_size)
    if abs(total - scale.parameters) > scale.tolerance * scale.parameters:
        raise UserError(
            f"model={model.name} scale={scale.name}: model.ff_width={model.ff_width} gives {total:,} parameters, not "
            f"{scale.parameters:,} ± {scale.tolerance:.1%}; leave model.ff_width unset to have it solved, "
            f"or set scale.parameters={total}"
        )
    return replace(config, model=model, optim=replace(config.optim, lr=lr, embedding_lr=embedding_lr))


def _solve_ff_width(model: ModelConfig, config: RunConfig, vocabulary_size: int) -> int:
    """The feed-forward width whose parameter count is nearest to the budget."""
    budget = config.scale.parameters
    one, two = (count_parameters(replace(model, ff_width=width), vocabulary_size) for width in (1, 2))
    if one > budget:
        raise UserError(
            f"model={model.name} scale={config.scale.name}: {model.n_layers} layers of width {model.width} and a "
            f"vocabulary of {vocabulary_size:,} already take {one:,} parameters, more than the budget of {budget:,}; "
            f"lower model.width or model.n_layers, or take a larger scale"
        )
    per_unit = two - one
    ff_width = 1 + round((budget - one) / per_unit)
    if abs(one + (ff_width - 1) * per_unit - budget) > config.scale.tolerance * budget:
        raise UserError(
            f"model={model.name} scale={config.scale.name}: one unit of model.ff_width is {per_unit:,} parameters, too "
            f"coarse for a budget of {budget:,} ± {config.scale.tolerance:.1%}; change model.width or model.n_layers"
        )
    return ff_width


def count_parameters(model: ModelConfig, vocabulary_size: int) -> int:
    """Trainable parameters of a model, counted on the meta device."""
    with torch.device("meta"):
        return parameters_by_part(build_model(model, vocabulary_size))["total"]


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Trainable parameters by part: "total", "embedding", "mixer", "feed_forward", "norm", "readout", as present."""
    parts: dict[str, int] = {"total": 0}
    for name, parameter in model.named_parameters():
        words = name.split(".")
        part = words[2] if words[0] == "layers" else words[0]
        part = "norm" if part.endswith("norm") else part
        parts[part] = parts.get(part, 0) + parameter.numel()
        parts["total"] += parameter.numel()
    return parts


def flops_per_token(model: nn.Module, context: int) -> int:
    """Floating-point operations of a training step per token, forward and backward: its matrix products.

    Attention is counted over the whole window, masked half included, as is the custom of published tables.
    """
    meta = deepcopy(model).to("meta")
    tokens = torch.zeros(1, context, dtype=torch.int64, device="meta")
    return count_flops(lambda: meta(tokens).sum().backward()) // context


def count_flops(compute: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in a call, which is made: on the meta device in no time."""
    # PyTorch counts products that are added to something, but not those added in place.
    in_place = {torch.ops.aten.baddbmm_: lambda _, a, b, **__: bmm_flop(a, b)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        compute()
    return int(counter.get_total_flops())


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Groups for AdamW: matrices decay; embeddings, norms, angles and coupling kernels do not.

    Decay pulls towards zero, which is no special place for an angle: modules name what must not decay in
    `undecayed()`. Learned phases range over 2 pi where weights are small, so they, and with them the embedding of
    every model, take `embedding_lr` times the rate (`lr_scale`): modules name them in `phases()`, and likewise
    `kernels()` for `kernel_lr` and `gates()` for `gate_lr`; an untied readout takes `readout_lr`. No embedding decays,
    for AdamW's decay grows with the rate and would shrink the transformer's alone; the decay of matrices with a
    multiple is divided by it, so that it stays as it is without one. All are our choice.
    """
    undecayed, phases, kernels, gates = (
        {id(p) for module in model.modules() if hasattr(module, name) for p in getattr(module, name)()}
        for name in ("undecayed", "phases", "kernels", "gates")
    )
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_phase = name == "embedding.weight" or id(parameter) in phases
        decays = parameter.ndim >= 2 and not is_phase and id(parameter) not in undecayed
        if is_phase:
            multiple = optim.embedding_lr or 1.0
        elif id(parameter) in kernels:
            multiple = optim.kernel_lr
        elif id(parameter) in gates:
            multiple = optim.gate_lr
        else:
            multiple = optim.readout_lr if name == "readout.weight" else 1.0
        groups.setdefault((decays, multiple), []).append(parameter)
    return [
        {"params": group, "weight_decay": optim.weight_decay * decays / multiple, "lr_scale": multiple}
        for (decays, multiple), group in groups.items()
    ]
