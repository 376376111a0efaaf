"""The YAML groups that lie beside this file, and Hydra's composition of them over the typed defaults."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from configs.errors import UserError
from configs.hydra_private import hydra_of_its_own
from configs.schema import (
    MODELS,
    STRINGS,
    BenchmarkConfig,
    DataConfig,
    EvaluationConfig,
    ParallelConfig,
    RunConfig,
    data_class,
)
from configs.strict import illegal_value

FOLDER = Path(__file__).parent
HYDRA_VERSION_BASE = "1.3"
# Groups of presets for a sweep, no part of a run: what starts its runs, and what chooses them.
LAUNCHERS = "launcher"
SWEEPERS = "sweeper"

# The typed defaults lie under the YAML files, so that each key exists and its default is written once, in schema.py.
_OF_ENTRIES = {"run": RunConfig, "evaluation": EvaluationConfig, "benchmark": BenchmarkConfig}
_OF_DATA = {"text": DataConfig, "parallel": ParallelConfig, **STRINGS}
for _name, _node in {**_OF_ENTRIES, **MODELS, **_OF_DATA}.items():
    ConfigStore.instance().store(group="schema", name=_name, node=_node)


def groups() -> list[str]:
    """The config groups of a run: data, model, scale, ..."""
    return sorted({path.parent.name for path in FOLDER.glob("*/*.yaml")} - {LAUNCHERS, SWEEPERS})


def options(group: str) -> list[str]:
    """The names that a group offers: model -> fsn, fsn_native, ...; scales by their size."""
    paths = sorted((FOLDER / group).glob("*.yaml"))
    return [path.stem for path in (sorted(paths, key=_parameters) if group == "scale" else paths)]


@functools.cache
def _parameters(path: Path) -> int:
    return int(OmegaConf.load(path).parameters)


def defaults(entry: str) -> dict[str, str]:
    """The option that an entry point takes of each group: model -> fsn, ..."""
    return dict(_defaults(entry))


@functools.cache
def _defaults(entry: str) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for item in OmegaConf.load(FOLDER / f"{entry}.yaml").defaults:
        if isinstance(item, DictConfig):
            chosen |= {str(group): name for group, name in item.items() if group in groups()}
    return chosen


@functools.cache
def source_of(data: str | None) -> str | None:
    """The source that an option of the group data names: repeat64 -> repeat."""
    path = FOLDER / "data" / f"{data}.yaml"
    return str(OmegaConf.load(path).source) if path.exists() else None


def schema(entry: str, model: str | None = None, source: str | None = None) -> Any:
    """The typed defaults of an entry point, with the keys of this model and of data from this source.

    Raises UserError for an unknown model.
    """
    if entry == "eval":
        return EvaluationConfig()
    if entry == "bench":
        return BenchmarkConfig()
    if not isinstance(model, str) or model not in MODELS:
        raise illegal_value("model", model, sorted(MODELS))
    return RunConfig(model=MODELS[model](), data=data_class(source)())


def compose_with_hydra(entry: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Hydra's own composition of `<entry>.yaml`, not yet checked. Raises HydraException, and UserError where the
    current folder was removed.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the folder that this was started in cannot be used ({error.strerror}): type cd FOLDER first"
        ) from None
    with hydra_of_its_own(FOLDER, HYDRA_VERSION_BASE):
        return hydra.compose(entry, list(overrides))
