"""What a field of the schema declares: its default, the values it takes, and what it needs to have an effect."""

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Which values a field takes, in words and as a test; None is always taken, where the type has it.

    `of_list`: the test is of a list as a whole; without it, of each of its entries.
    """

    says: str
    holds: Callable[[Any], object]  # anything that counts as true: a match of a pattern too
    of_list: bool = False


def at_least(low: float, high: float = math.inf) -> Rule:
    """A finite number from `low` to `high`."""
    says = f"must be at least {low}" if high == math.inf else f"must lie between {low} and {high}"
    # Written so that nan fails; inf is never a setting.
    return Rule(says, lambda value: low <= value <= high and value < math.inf)


def above(low: float, high: float = math.inf) -> Rule:
    """A finite number above `low`, up to `high`."""
    most = "" if high == math.inf else f" and at most {high}"
    return Rule(f"must be above {low}{most}", lambda value: low < value <= high and value < math.inf)


FINITE = Rule("must be a finite number", math.isfinite)
NOT_EMPTY = Rule("must not be empty", lambda text: bool(text.strip()))


@dataclass(frozen=True)
class Need:
    """What a field needs to have an effect: what to type, or whose key it is, and whether a run config has it."""

    says: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Limits:
    """All that a field declares besides its type and default. `tasks`: those of `eval.py` that use it; empty: all.
    `path`: it names a file or a folder.
    """

    rule: Rule | None = None
    example: Any = None
    names: tuple[str, ...] = ()
    needs: Need | None = None
    tasks: tuple[str, ...] = ()
    path: bool = False


def setting(
    default: Any,
    rule: Rule | None = None,
    *,
    example: Any = None,
    names: tuple[str, ...] = (),
    needs: Need | None = None,
    tasks: tuple[str, ...] = (),
    path: bool = False,
) -> Any:
    """A dataclass field that takes what `rule` says, or one of `names`; `example` is what an error tells to type, by
    default the default.
    """
    limits = {"limits": Limits(rule, default if example is None else example, names, needs, tasks, path)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=limits)
    return field(default=default, metadata=limits)


def limits_of(of: Field[Any]) -> Limits:
    """What a field declares; nothing where it is not a `setting`."""
    said: Limits = of.metadata.get("limits", Limits())
    return said
