"""Models and optimizer groups from a resolved config."""

import re
from dataclasses import fields
from importlib import import_module
from typing import Any

from torch import nn

from configs.errors import UserError
from configs.schema import ModelConfig, OptimConfig

# What a module may name of its parameters, in a method of this name, and the multiple of the rate that they take.
RATES = {
    "embeddings": "embedding_lr",
    "phases": "embedding_lr",
    "kernels": "kernel_lr",
    "gates": "gate_lr",
    "readouts": "readout_lr",
}

IN_BANDS = ("cutoffs", "div_value")  # of a vocabulary of words, which a translator has not

# Of a parameter in a layer: whose, if it is a translator's, and which part of the layer.
IN_LAYER = re.compile(r"(?:(encoder|decoder)\.)?(?:layers\.)?\d+\.(\w+)")


def build_model(model: ModelConfig, vocabulary_size: int, task: str = "language") -> nn.Module:
    """The model that a resolved config describes, initialised from torch's global generator: a translator for
    task=translation, else a language model.

    Raises UserError when the shape is impossible, for example a width that its heads do not divide, and for a model
    that is no translator.
    """
    translates = task == "translation"
    network = model.translator if translates else model.network
    if network is None:
        raise UserError(f"model={model.name} is no translator: type for example model=transformer")
    module, _, name = network.partition(":")
    shared = {field.name for field in fields(ModelConfig)}
    options = {field.name: getattr(model, field.name) for field in fields(model) if field.name not in shared}
    options = {name: value for name, value in options.items() if value is not None}
    if translates:
        options = {name: value for name, value in options.items() if name not in IN_BANDS}
        options["dropout"] = model.dropout or 0.0
    shape = model.width, model.n_layers, model.n_heads, model.ff_width
    try:
        built: nn.Module = getattr(import_module(module), name)(vocabulary_size, *shape, **options)
    except ValueError as error:
        hint = "width and model.n_heads" if "split into" in str(error) else str(error).partition("=")[0]
        raise UserError(f"model={model.name}: {error}; set model.{hint}") from error
    return built


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Trainable parameters by part: "total", "embedding", "mixer", "feed_forward", "norm", "readout", "band_maps", as
    present. Embedding and readout are tables with a row for each token; maps of an adaptive softmax's bands are not.

    Those in the layers of a translator are "encoder_mixer", "decoder_mixer", "decoder_cross", and the like.
    """
    parts: dict[str, int] = {"total": 0}
    embeddings, readouts, maps = (_named(model, role) for role in ("embeddings", "readouts", "band_maps"))
    for name, parameter in model.named_parameters():
        if layer := IN_LAYER.match(name):
            part = "_".join(filter(None, layer.groups()))
        else:
            part = name.removeprefix("decoder.").partition(".")[0]
        part = "norm" if part.endswith("norm") else part
        part = "band_maps" if id(parameter) in maps else part
        part = "embedding" if id(parameter) in embeddings else "readout" if id(parameter) in readouts else part
        parts[part] = parts.get(part, 0) + parameter.numel()
        parts["total"] += parameter.numel()
    return parts


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Groups for AdamW: matrices decay; embeddings, norms, angles and coupling kernels do not.

    Modules name the parameters of a role in a method of its name, see `RATES`; a role takes a multiple of the rate
    (`lr_scale`). Learned phases range over 2 pi where weights are small, so they, and with them the embedding of every
    model, take larger steps. Modules name in `undecayed()` what must not decay: decay pulls towards zero, which is no
    special place for an angle, and AdamW's grows with the rate, so it would shrink the transformer's embedding alone.
    The decay of matrices with a multiple is divided by it, so that it stays as it is without one. All are our choice.
    """
    multiples = {name: getattr(optim, key) or 1.0 for role, key in RATES.items() for name in _named(model, role)}
    undecayed = _named(model, "undecayed")
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        decays = parameter.ndim >= 2 and id(parameter) not in undecayed
        groups.setdefault((decays, multiples.get(id(parameter), 1.0)), []).append(parameter)
    return [
        {"params": group, "weight_decay": optim.weight_decay * decays / multiple, "lr_scale": multiple}
        for (decays, multiple), group in groups.items()
    ]


def _named(model: nn.Module, role: str) -> set[int]:
    """The ids of the parameters to which modules of a model give a role."""
    return {id(p) for module in model.modules() if hasattr(module, role) for p in getattr(module, role)()}
