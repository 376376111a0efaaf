"""Strict merging: plain values go into a typed dataclass tree, or one line says which key or value is wrong."""

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.errors import UserError
from configs.fields import limits_of
from configs.printable import shortened
from configs.saved import without_escape


def nearest(word: str, legal: Iterable[str]) -> str | None:
    """The legal word most like `word`, or None."""
    return next(iter(difflib.get_close_matches(word, list(legal), n=1)), None)


def unknown_key(key: str, legal: Iterable[str], value: str = "...") -> UserError:
    """The error for a key that does not exist, with the nearest one and what to type."""
    legal = list(legal)
    group, _, name = key.rpartition(".")
    siblings = [k for k in legal if k.rpartition(".")[0] == group] or [k for k in legal if "." not in k]
    # A slip within the group, then the right name elsewhere (max_steps), then a slip in the group (trainr.threads).
    within = {k.rpartition(".")[2]: k for k in siblings}
    anywhere = {k.rpartition(".")[2]: k for k in reversed(legal)}
    guess = within.get(nearest(name, within) or "") or anywhere.get(nearest(name, anywhere) or "")
    if guess is None and group not in legal:
        guess = nearest(key, legal)
    if guess is None:
        return UserError(f"unknown key '{shortened(key)}': legal here are {', '.join(siblings)}")
    return UserError(f"unknown key '{shortened(key)}': the nearest is '{guess}'; type {guess}={shortened(value)}")


def illegal_value(key: str, value: object, legal: Iterable[str]) -> UserError:
    """The error for a name that is none of the legal ones."""
    legal = list(legal)
    guess = nearest(str(value), legal) or legal[0]
    return UserError(f"{key}={shortened(value)}: legal values are {', '.join(legal)}; type {key}={guess}")


def require_utf8(key: str, text: str) -> None:
    """UserError for text that UTF-8 cannot hold, and so no record: a file name of another system for example."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{key}={_not_utf8(text)}") from None


def _not_utf8(text: str) -> str:
    """The text, what is wrong with it and what to type. Python decodes bytes that it cannot read to half characters."""
    try:
        typed = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # "\\ud800" in a file
        shown = text.encode(errors="backslashreplace").decode()
        return f"{shown} holds half of a character, which no record can; type it without"
    try:
        return f"{typed.decode()}: Python reads ASCII alone here; type export PYTHONUTF8=1 and then the command again"
    except UnicodeDecodeError:
        return (
            f"{typed.decode(errors='backslashreplace')} is not UTF-8, which records are written in; rename the file, "
            "or make a link to it with another name and give that; where it is no file, type it in UTF-8"
        )


def keys(tree: object, prefix: str = "") -> list[str]:
    """Every dotted key of a tree of dataclass instances, branches included."""
    names = []
    for f in fields(tree):  # type: ignore[arg-type]
        names.append(prefix + f.name)
        value = getattr(tree, f.name)
        if is_dataclass(value):
            names += keys(value, f"{prefix}{f.name}.")
    return names


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Field[Any], Any, Any]]:
    """Every key of a tree of dataclass instances and dicts of them that has a value: key, field, value, default."""
    for f in fields(tree):
        value = getattr(tree, f.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{f.name}.")
        elif isinstance(value, dict):
            for name, branch in value.items():
                yield from leaves(branch, f"{prefix}{f.name}.{name}.")
        else:
            yield prefix + f.name, f, value, f.default if f.default_factory is MISSING else f.default_factory()


def typed(tree: Any, values: Mapping[str, Any]) -> Any:
    """`tree` (a dataclass instance that holds the defaults) with `values` merged in, types and legal names checked.

    Raises UserError, one line, for an unknown key, a value of another type, or a name that its field does not know.
    """
    _check_keys(tree, values, keys(tree))
    try:
        merged: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(tree), dict(values)))
    except OmegaConfBaseException as error:
        key = str(error.full_key or "").split("[")[0]
        raise type_error(tree, key, _select(values, key), error) from None
    except OverflowError:
        raise UserError("a number in the config is too large; type one that is below 1e308") from None
    _unescape(merged)
    for key, f, value, _ in leaves(merged):
        if isinstance(value, str):
            require_utf8(key, value)
        if not _is_of(value, f.type):  # OmegaConf lets pass what is in a list, and what a reference leads to
            meaning, example = takes(tree, key) or ("a value of another type", "...")
            raise UserError(f"{key}={shortened(value)}: takes {meaning}; type for example {key}={example}")
        legal = limits_of(f).names
        if legal and value is not None and value not in legal:
            raise illegal_value(key, value, legal)
    return merged


def _unescape(tree: Any) -> None:
    for f in fields(tree):
        value = getattr(tree, f.name)
        if isinstance(value, str):
            setattr(tree, f.name, without_escape(value))
        for branch in value.values() if isinstance(value, dict) else [value]:
            if is_dataclass(branch):
                _unescape(branch)


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type, of those that fields of ours have."""
    if get_origin(hint) in (types.UnionType, Union):
        return any(_is_of(value, one) for one in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_is_of(one, get_args(hint)[0]) for one in value)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def type_error(tree: object, key: str, given: object, error: OmegaConfBaseException) -> UserError:
    """OmegaConf's complaint about one value as one line: the key, what was given, what it takes."""
    meant = takes(tree, key)
    if meant is None:
        return UserError(f"{key}={shortened(given)}: {shortened(str(error.msg or error).splitlines()[0])}")
    example = f"[{shortened(given)}]" if meant[0].startswith("a list of names") else meant[1]
    return UserError(f"{key}={shortened(given)}: takes {meant[0]}; type for example {key}={example}")


def _check_keys(tree: object, values: Mapping[str, Any], legal: list[str], prefix: str = "") -> None:
    names = {f.name for f in fields(tree)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in names:
            raise unknown_key(f"{prefix}{name}", legal, str(value))
        branch = getattr(tree, name)
        if isinstance(branch, dict) and isinstance(value, Mapping):
            for inner, keys_of_it in value.items():
                if not isinstance(keys_of_it, Mapping):
                    raise UserError(f"{prefix}{name}.{inner}={shortened(keys_of_it)}: is a group of keys")
        if not is_dataclass(branch):
            continue
        if not isinstance(value, Mapping):
            raise UserError(
                f"{prefix}{name}={shortened(value)}: is a group of keys, such as "
                f"{prefix}{name}.{fields(branch)[0].name}"
            )
        _check_keys(branch, value, legal, f"{prefix}{name}.")


def _select(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else getattr(tree, part, None)
    return tree


def takes(tree: Any, key: str) -> tuple[str, str] | None:
    """What a field's type means to a reader, and an example of it."""
    *path, name = key.split(".")
    for part in path:
        tree = getattr(tree, part, None)
    if not is_dataclass(tree):
        return None
    hint, own = get_type_hints(type(tree)).get(name), {f.name: limits_of(f).example for f in fields(tree)}.get(name)
    optional = get_origin(hint) in (types.UnionType, Union)
    if optional:
        hint = next(a for a in get_args(hint) if a is not type(None))
    words = {
        int: ("a whole number", "1"),
        float: ("a number", "0.1"),
        bool: ("true or false", "true"),
        str: ("text", "name"),
        list[str]: ("a list of names", "[name]"),
        list[int]: ("a list of whole numbers", "[10,30]"),
        list[float]: ("a list of numbers", "[0.9,0.05,0.05]"),
    }
    if hint not in words:
        return None
    meaning, example = words[hint]
    if hint in (int, float) and own is not None:
        example = str(own)
    return (meaning + " or null" if optional else meaning), example
