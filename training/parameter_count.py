"""Trainable parameters of a model that is not built: counted on the meta device, where nothing is allocated."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from configs.schema import ModelConfig
from training.build import build_model, parameters_by_part

# What gives a tensor its initial values; modules of torch go through torch.nn.init.
STARTS = ("normal_", "uniform_", "copy_", "mul_", "__imul__")


class NothingDrawn(TorchFunctionMode):
    """Inside, tensors keep the values that they were made with: what would give parameters theirs is left out.

    On the meta device there are no values, and torch would load its compiler to find that out, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is torch.randint:  # on the CPU, whose generator must not move
            return torch.zeros(args[-1], device=options.get("device"))
        if getattr(func, "__module__", None) == "torch.nn.init" or getattr(func, "__name__", None) in STARTS:
            return args[0] if args else options["tensor"]
        return func(*args, **options)


def count_parameters(model: ModelConfig, vocabulary_size: int, task: str) -> dict[str, int]:
    """As `parameters_by_part` of the built model. UserError for an impossible shape."""
    with torch.device("meta"), NothingDrawn():
        return parameters_by_part(build_model(model, vocabulary_size, task))
