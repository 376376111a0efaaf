"""Command-line overrides: each mistake becomes one line that says what to type."""

import contextlib
import functools
import os
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.errors import UserError
from configs.groups import compose_with_hydra, defaults, groups, options, schema, source_of
from configs.hydra_private import Override, OverridesParser, OverrideType
from configs.schema import MODELS, data_class
from configs.strict import illegal_value, keys, nearest, require_utf8, takes, type_error, unknown_key
from configs.text_values import as_typed, quoted, refuse_resolvers, shell_word

# Keys of a sweep's command line, not of a run: see configs.sweeps.
OF_SWEEPS = ("profile", "status", "retry_failed", "launcher", "sweeper")


def compose_strictly(entry: str, overrides: Sequence[str]) -> DictConfig:
    """Hydra's composition of one job. Raises UserError for any mistake in `overrides`."""
    overrides = as_typed(entry, overrides)
    parsed = parse(entry, overrides)
    chosen = defaults(entry)
    chosen_here, settings = [], []
    for override in parsed:
        if override.is_sweep_override():
            raise _several(override, _schema(entry, overrides))
        if is_hydras(override):
            continue
        if override.key_or_group in chosen:
            chosen[override.key_or_group] = _option(override)
            chosen_here.append(str(override.input_line))
        else:
            settings.append(override)
    tree = schema(entry, chosen.get("model"), source_of(chosen.get("data")))
    for override in settings:
        _check_setting(override, tree)
    try:
        if len(settings) + len(chosen_here) == len(parsed) and all(o.type is OverrideType.CHANGE for o in settings):
            with contextlib.suppress(OmegaConfBaseException):  # Hydra itself says best what is wrong
                return _quickly(entry, chosen_here, settings)
        return compose_with_hydra(entry, overrides)
    except HydraException as error:
        raise _explained(error, tree) from None


def _quickly(entry: str, chosen: Sequence[str], settings: Sequence[Override]) -> DictConfig:
    """What Hydra composes, faster where many jobs choose the same groups: those are composed once, and the other keys
    are set as Hydra sets them. Raises OmegaConfBaseException.
    """
    config = deepcopy(_composed(entry, tuple(chosen)))
    for override in settings:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    return config


@functools.cache
def _composed(entry: str, chosen: tuple[str, ...]) -> DictConfig:
    return compose_with_hydra(entry, chosen)


def parse(entry: str, overrides: Sequence[str]) -> list[Override]:
    """Hydra's reading of the overrides, one by one. Raises UserError for what is not key=value."""
    parser = OverridesParser.create()
    overrides = as_typed(entry, overrides)
    tree = _schema(entry, overrides)
    legal = keys(tree)
    parsed = []
    for text in overrides:
        key, equals, value = text.partition("=")
        require_utf8(key, value)
        if not key or (not equals and not key.startswith("~")):
            raise UserError(f"'{text}' is not key=value: type {_example(entry, key, legal)}")
        try:
            parsed += (read := parser.parse_overrides([text]))
        except HydraException:
            raise _unreadable(key.lstrip("+~"), value, tree) from None
        if not is_hydras(read[0]):
            refuse_resolvers(entry, text, legal)
    return parsed


def _schema(entry: str, overrides: Sequence[str]) -> Any:
    """The typed defaults with the keys of the model and the data that the overrides choose."""
    chosen = defaults(entry)
    for key, _, value in (text.partition("=") for text in overrides):
        if key in chosen and value in options(key):
            chosen[key] = value
    return schema(entry, chosen.get("model"), source_of(chosen.get("data")))


def _unreadable(key: str, value: str, tree: Any) -> UserError:
    """The error for a value that Hydra's grammar has no place for; free text never comes here."""
    if key not in keys(tree):
        return _unknown(key, tree)
    if key in groups():
        return illegal_value(key, value, options(key))
    meaning, example = takes(tree, key) or ("keys in braces, closed", "{}")
    return UserError(f"cannot read {key}={value}: it takes {meaning}; type for example {key}={example}")


def _unknown(key: str, tree: Any, value: str = "...") -> UserError:
    """`unknown_key`, with a value that its guess takes where that is a group or a list."""
    legal = keys(tree)
    guess = re.search(r"; type ([^=]+)=", str(unknown_key(key, legal, value)))
    if guess and guess[1] in groups() and value not in options(guess[1]):
        value = nearest(value, options(guess[1])) or options(guess[1])[0]
    elif guess and (takes(tree, guess[1]) or ("",))[0].startswith("a list") and not value.startswith("["):
        value = f"[{value}]"
    return unknown_key(key, legal, value)


def _several(override: Override, tree: Any) -> UserError:
    """The error for several values where one job is asked for."""
    key, _, value = str(override.input_line).partition("=")
    bare = key.lstrip("+")
    meaning, _ = takes(tree, bare) or ("", "")
    if meaning.startswith("a list"):
        return UserError(f"{key}={value}: several values for one list; type {bare}=[{value}]")
    if bare not in groups() and meaning.startswith("text"):
        instead = f", or type {shell_word(quoted(bare, value))} for this very text"
    else:
        instead = ""
    return UserError(f"{key}={value}: several values; add -m to run each{instead}")


def is_hydras(override: Override) -> bool:
    """Whether an override is meant for Hydra itself: hydra.verbose, hydra/launcher."""
    return re.split(r"[./]", override.key_or_group)[0] == "hydra"


def _option(override: Override) -> str:
    """The name chosen from a group: model=fsn."""
    group = override.key_or_group
    legal = options(group)
    value = override.value()
    shown = "" if value is None else str(value)
    guess = nearest(shown, legal) or legal[0]
    if override.is_delete():
        raise UserError(f"{override.input_line}: a group cannot be left out; legal are {', '.join(legal)}")
    if override.is_add() or override.is_force_add() or override.package is not None:
        raise UserError(f"{override.input_line}: a group takes a plain name; type {group}={guess}")
    if shown not in legal:
        raise UserError(f"{group}={shown}: legal values are {', '.join(legal)}; type {group}={guess}")
    return shown


def _check_setting(override: Override, tree: Any) -> None:
    """A single key: trainer.max_steps=100."""
    legal = keys(tree)
    given, _, value = str(override.input_line).partition("=")
    key = override.key_or_group
    if key.partition(".")[0] in OF_SWEEPS and "model.name" in legal:
        told = "; python -m results.status tells of all runs below runs/" if key == "status" else ""
        raise UserError(
            f"{given}={value}: belongs to a sweep of sweeps/, and none is named; type +sweeps=NAME too{told}"
        )
    if key not in legal and "model.name" in legal:
        _refuse_key_of_others(key)
    if key not in legal or override.package is not None:
        raise _unknown(given.lstrip("+~"), tree, value or "...")
    if override.is_delete():
        raise UserError(f"{given}: a key cannot be left out; a value such as {key}=null switches some off")
    if override.is_add():
        raise UserError(f"{given}={value}: the key exists, no + is needed; type {key}={value}")
    group, _, name = key.rpartition(".")
    # A corpus and a scale may be given names of their own, but not that of an existing scale, which has tuned values.
    own_name = key == "data.name" or (key == "scale.name" and value not in options("scale"))
    if key == "data.source" or (name == "name" and group in groups() and not own_name):
        guess = nearest(value, options(group)) or options(group)[0]
        raise UserError(f"{given}={value}: {group} is chosen as a whole; type {group}={guess}")
    if key == "model.tuned":
        raise UserError(f"{given}={value}: tuned values are kept in configs/model; for one run type optim.lr=0.003")


def _refuse_key_of_others(key: str) -> None:
    """UserError for a key that other models or other data have."""
    having = [name for name, model in MODELS.items() if key in {f"model.{field.name}" for field in fields(model)}]
    if having:
        guess = "fsn" if "fsn" in having else having[0]
        raise UserError(f"this model has no key '{key}', which {_whose(having)}: leave it out, or type model={guess}")
    with_key = [name for name in options("data") if key in _keys_of_data(name)]
    if with_key:
        guess = "text" if "text" in with_key else with_key[0]
        raise UserError(
            f"this data has no key '{key}', which {_whose(with_key)}: leave it out, or type data={guess} "
            f"task={data_class(source_of(guess)).task}"
        )


def _whose(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'have' if len(names) > 1 else 'has'}"


def _keys_of_data(option: str) -> set[str]:
    return {f"data.{field.name}" for field in fields(data_class(source_of(option)))}


def _example(entry: str, word: str, legal: list[str]) -> str:
    if entry == "eval" and (os.sep in word or Path(word).exists()):
        return f"run={word}" if re.fullmatch(r"[\w./-]+", word) else f"\"run='{word}'\""
    key = nearest(word, legal) or ("run" if entry == "eval" else "model")
    return f"{key}={options(key)[0]}" if key in groups() else f"{key}=VALUE"


def _explained(error: HydraException, tree: Any) -> UserError:
    """What Hydra could not compose, as one line."""
    cause = error.__cause__
    line = re.search(r"Error merging override \+*([^=]+)=(.*)", str(error), re.DOTALL)
    if line and isinstance(cause, OmegaConfBaseException):
        return type_error(tree, line[1], line[2], cause)
    return UserError(" ".join(str(error).split()))
