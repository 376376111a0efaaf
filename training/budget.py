"""The budget: shapes solved so that every model has the promised number of parameters."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from configs.errors import UserError
from configs.schema import ModelConfig, RunConfig

Parts = dict[str, int]  # trainable parameters by part, as training.build.parameters_by_part has them
Count = Callable[[ModelConfig, int, str], Parts]

# Tokens that a start is made for which holds for one length of sequences: those of a sentence, which are far fewer than
# the longest that data.context lets in (our choice).
SENTENCE = 32
REGULARISED = 0.1  # dropout and label smoothing of a translator, as arXiv 1706.03762 has them for its base model


def count(model: ModelConfig, vocabulary_size: int, task: str) -> Parts:
    """Of a model that is not built. UserError for an impossible shape."""
    from training.parameter_count import count_parameters  # here, because it needs torch

    return count_parameters(model, vocabulary_size, task)


def resolve_shape(config: RunConfig, vocabulary_size: int, count: Count = count) -> RunConfig:
    """The config with its shape and peak learning rate filled in: from what is set, then tuned, then the scale; and how
    a translator is regularised.

    `ff_width` is solved from the parameter budget, in which it is linear. Resolving twice changes nothing.
    `count`: what counts the parameters of a model.
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
        raise UserError(f"model={model.name} has no tuned learning rate at scale={scale.name}; type optim.lr=0.003")
    embedding_lr = next(
        multiple
        for multiple in (config.optim.embedding_lr, getattr(tuned, "embedding_lr", None), 1.0)
        if multiple is not None
    )
    context = min(config.data.context, SENTENCE) if config.task == "translation" else config.data.context
    model = replace(model, **shape).for_context(context).for_vocabulary(config.data, vocabulary_size)
    if model.ff_width is None:
        model = replace(model, ff_width=_solve_ff_width(model, config, vocabulary_size, count))
    counted = budgeted_parameters(model, config, vocabulary_size, count)
    missed = abs(counted - scale.parameters) > scale.tolerance * scale.parameters
    if missed and model.ff_width != _solve_ff_width(model, config, vocabulary_size, count):
        raise UserError(
            f"model={model.name} scale={scale.name}: model.ff_width={model.ff_width} gives {counted:,} parameters"
            f"{_without(config)}, not {scale.parameters:,} ± {scale.tolerance:.1%}; leave model.ff_width unset to have "
            f"it solved, or type scale.parameters={counted}"
        )
    optim = replace(config.optim, lr=lr, embedding_lr=embedding_lr)
    if config.task == "translation":
        model = replace(model, dropout=REGULARISED if model.dropout is None else model.dropout)
        smoothing = REGULARISED if optim.label_smoothing is None else optim.label_smoothing
        optim = replace(optim, label_smoothing=smoothing)
    return replace(config, model=model, optim=optim)


def _solve_ff_width(model: ModelConfig, config: RunConfig, vocabulary_size: int, count: Count) -> int:
    """The feed-forward width whose parameter count is nearest to the budget.

    A translator has twice the layers, so a unit of its width costs twice as much. Where half a unit is more than the
    tolerance, its budget is met to half a unit (our choice; only model.feed_forward=native at scale=smoke needs it).
    """
    budget = config.scale.parameters
    one, two = (budgeted_parameters(replace(model, ff_width=width), config, vocabulary_size, count) for width in (1, 2))
    if one > budget:
        raise UserError(
            f"model={model.name} scale={config.scale.name}: model.n_layers={model.n_layers}, model.width={model.width} "
            f"and a vocabulary of {vocabulary_size:,} already take {one:,} parameters{_without(config)}, more than the "
            f"budget of {budget:,}; lower model.width or model.n_layers, or take a larger scale"
        )
    per_unit = two - one
    ff_width = 1 + round((budget - one) / per_unit)
    half_unit = per_unit / 2 if config.task == "translation" else 0
    if abs(one + (ff_width - 1) * per_unit - budget) > max(config.scale.tolerance * budget, half_unit):
        raise UserError(
            f"model={model.name} scale={config.scale.name}: one unit of model.ff_width is {per_unit:,} parameters, too "
            f"coarse for a budget of {budget:,} ± {config.scale.tolerance:.1%}; change model.width or model.n_layers"
        )
    return ff_width


def budgeted_parameters(model: ModelConfig, config: RunConfig, vocabulary_size: int, count: Count = count) -> int:
    """The trainable parameters that a budget covers: all where a token is a byte. `model`: that of `config`, its shape
    filled in.

    With a vocabulary of tokens the tables of the embedding and the readout would be most of a small model, and of some
    models more than of others: they are left out then (our choice).
    """
    parts = count(model, vocabulary_size, config.task)
    return parts["total"] if config.data.counts_tables else without_tables(parts)


def without_tables(parts: dict[str, int]) -> int:
    """Of parameters by part, those that are in no table with a row for each token."""
    return parts["total"] - parts.get("embedding", 0) - parts.get("readout", 0)


def _without(config: RunConfig) -> str:
    return "" if config.data.counts_tables else " without the embedding and readout tables"
