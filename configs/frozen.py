"""A resolved config as text, for another process: what comes out is what went in, and nothing is resolved again."""

import json

from configs.compose import config_dict, resolve
from configs.saved import literal
from configs.schema import RunConfig

FLAG = "--frozen"  # of train.py, before the file of a frozen config; for the processes that a sweep starts


def freeze(config: RunConfig) -> str:
    """JSON of the config."""
    return json.dumps(config_dict(config), allow_nan=False)


def thaw(text: str) -> RunConfig:
    """The config that `freeze` was given."""
    return resolve(literal(json.loads(text)))
