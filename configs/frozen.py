"""A resolved config as text, for another process: what comes out is what went in, and nothing is resolved again."""

import json
import re
from typing import Any

from configs.compose import config_dict, resolve
from configs.schema import RunConfig

FLAG = "--frozen"  # of train.py, before the file of a frozen config; for the processes that a sweep starts


def freeze(config: RunConfig) -> str:
    """JSON of the config."""
    return json.dumps(_escaped(config_dict(config)), allow_nan=False)


def thaw(text: str) -> RunConfig:
    """The config that `freeze` was given."""
    return resolve(json.loads(text))


def _escaped(value: Any) -> Any:
    """With each `${` of a string escaped: the typed merge would take it for an interpolation."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
