"""Modules that remember their arguments: to print them, to reset parameters, and to save them beside the weights.

All of it is our choice. The constructor of a subclass takes `device` and `dtype` where its signature names them. The
parameters are made on that device and then cast, so that a `dtype` changes no draw of the generator.
"""

import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn


class Configured(nn.Module):
    """A module with `arguments`: what its constructor was given, and the defaults of what was left out, by name."""

    arguments: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign]

    def reset_parameters(self) -> None:
        """Draw all initial values again, in place, as the constructor does on the device that the parameters are on."""
        with torch.device(next(self.parameters()).device):
            fresh = type(self)(**self.arguments)
        self.load_state_dict(fresh.state_dict())

    def extra_repr(self) -> str:
        """The arguments that are not at their defaults."""
        known = inspect.signature(type(self)).parameters
        shown = {k: v for k, v in self.arguments.items() if k not in known or v != known[k].default}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that notes its arguments first and makes the parameters where `device` and `dtype` say."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recorded(self: Configured, *given: Any, **named: Any) -> None:
        if "arguments" in self.__dict__:  # a subclass has noted its own
            init(self, *given, **named)
            return
        bound = signature.bind(self, *given, **named)
        bound.apply_defaults()
        _, *names = signature.parameters
        arguments: dict[str, Any] = {}
        for name in names:
            value = bound.arguments[name]
            arguments |= value if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        device, dtype = arguments.pop("device", None), arguments.pop("dtype", None)
        self.arguments = arguments
        with nullcontext() if device is None else torch.device(device):
            init(self, *given, **named)
        if dtype is not None:
            self.to(dtype)

    return recorded
