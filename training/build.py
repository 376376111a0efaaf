"""Models and optimizer groups from a resolved config."""

from typing import Any

from torch import nn

from baseline import Transformer
from configs.errors import UserError
from configs.schema import FSNConfig, ModelConfig, OptimConfig, OSNConfig, TransformerConfig
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
                drifts=model.drifts,
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
