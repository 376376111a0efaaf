"""Configs out of files: plain values, taken literally. Anybody may have written such a file, so nothing in it is looked
up or run.

OmegaConf reads `${...}` in a value as a reference, to the environment too (`${oc.env:HOME}`), and a text `???` as one
that is missing. What a run saved is resolved already, so that in a saved value these are characters like any others.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from configs.errors import UserError
from configs.printable import shortened

MOST_BYTES = 1_000_000  # of a config.yaml; ours have some 3,000
MOST_VALUES = 10_000  # with all that is nested in others; ours have some 150
DEEPEST = 20  # mappings and lists within each other; ours have 4
MISSING = re.compile(r"\\*\?{3}")


class PlainLoader(yaml.SafeLoader):
    """Safe YAML without references (&, *, <<), whose copies of copies may take any memory, and with each key once."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="it has a reference (& or *)", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="it has a tag (!)", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            raise yaml.MarkedYAMLError(problem="it has a key twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_saved(path: Path) -> dict[str, Any]:
    """The values of a run's config.yaml. UserError for what cannot be read, is no mapping, or is none of ours."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no regular file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path} is not a run's config: it has more than {MOST_BYTES:,} bytes")
        values = yaml.load(content.decode(), Loader=PlainLoader)
    except OSError as error:
        raise UserError(f"cannot read the run's config {path}: {error.strerror or error}") from None
    except RecursionError:
        raise UserError(f"cannot read the run's config {path}: it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        # Without the line itself: the file may be a link to any other.
        where = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise UserError(f"cannot read the run's config {path}: {shortened(error.problem)}{where}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the run's config {path}: it is not YAML ({type(error).__name__})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a run's config")
    return values


def literal(values: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy of plain values with `${` and `???` escaped, so that `strict.typed` reads them as they are written.

    UserError for what no config has: other types, keys that are no text, or more than a config can hold.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"this is not a run's config: it is {shortened(repr(values))}")
    copied: dict[str, Any] = _Copy().of(values, "", 0)
    return copied


class _Copy:
    """Counts what it copies: references within the values may make much of little."""

    def __init__(self) -> None:
        self.values = self.characters = 0

    def of(self, value: Any, key: str, depth: int) -> Any:
        self.values += 1
        if isinstance(value, str):
            self.characters += len(value)
        if depth > DEEPEST or self.values > MOST_VALUES or self.characters > MOST_BYTES:
            raise UserError(f"this is not a run's config: it is too large, or nested too deeply, at '{shortened(key)}'")
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, str):
                    raise UserError(f"this is not a run's config: the key {shortened(repr(name))} is not text")
            return {name: self.of(inner, f"{key}.{name}".lstrip("."), depth + 1) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(inner, key, depth + 1) for inner in value]
        if isinstance(value, str):
            return escaped(value)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UserError(f"this is not a run's config: the number of '{shortened(key)}' is too large")
        if value is None or isinstance(value, bool | int | float):
            return value
        raise UserError(f"this is not a run's config: '{shortened(key)}' is a {type(value).__name__}")


def escaped(text: str) -> str:
    """Text with everything escaped that OmegaConf would read as a reference, or as a value that is missing."""
    if MISSING.fullmatch(text):
        return "\\" + text
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def without_escape(text: str) -> str:
    """What OmegaConf makes of `escaped` text, as it was typed. OmegaConf knows no escape of `???`, so it is ours."""
    return text.removeprefix("\\") if MISSING.fullmatch(text) else text
