"""How a sweep chooses its runs: the grid alone, or a search that goes on from there (sweeper=optuna)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError, safe_load

from configs.errors import UserError
from configs.groups import FOLDER, SWEEPERS, options
from configs.strict import illegal_value, typed


@dataclass
class SweeperConfig:
    """The keys of a preset. `trials`: learning rates that each model is given beside those of the grid; `seed`: of what
    is proposed.
    """

    name: str = "grid"
    trials: int = 0
    seed: int = 0


@dataclass
class _Keys:
    """So that an error says `sweeper.trials`, as it is typed."""

    sweeper: SweeperConfig = field(default_factory=SweeperConfig)


def sweeper_of(arguments: Sequence[str]) -> SweeperConfig:
    """The sweeper that `sweeper=NAME` and `sweeper.key=value` ask for. UserError for an unknown name or key, or a value
    that cannot be.
    """
    given = dict(text.split("=", 1) for text in arguments)
    name = given.pop(SWEEPERS, "grid")
    if name not in options(SWEEPERS):
        raise illegal_value(SWEEPERS, name, options(SWEEPERS))
    if given and name == "grid":
        key, value = next(iter(given.items()))
        raise UserError(f"{key}={value}: a grid takes no such key; type sweeper=optuna too, or leave it out")
    preset: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / SWEEPERS / f"{name}.yaml"))
    values = {key.removeprefix(f"{SWEEPERS}."): _value(key, text) for key, text in given.items()}
    config: SweeperConfig = typed(_Keys(), {"sweeper": preset | values}).sweeper
    if config.name != name:
        raise illegal_value("sweeper.name", config.name, (name,))
    if name != "grid" and config.trials < 1:
        raise UserError(
            f"sweeper.trials={config.trials}: a search takes one or more; for the grid alone type sweeper=grid"
        )
    if not 0 <= config.seed < 2**32:
        raise UserError(f"sweeper.seed={config.seed}: a seed is between 0 and 2**32 - 1; type sweeper.seed=0")
    return config


def _value(key: str, text: str) -> Any:
    try:
        return safe_load(text)
    except YAMLError:
        raise UserError(f"{key}={text}: cannot be read; type for example {key}=4") from None
