"""How the runs of a sweep are started: one after another, or side by side (launcher=joblib, ray, slurm)."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from configs.errors import UserError
from configs.groups import FOLDER, HYDRA_VERSION_BASE
from configs.hydra_private import hydra_of_its_own
from configs.schema import RunConfig
from training.run_record import environment
from training.sweeps.own_process import Failure, OwnProcesses
from training.sweeps.ray_launcher import launch_with_ray
from training.sweeps.submitit_launcher import launch_with_submitit

# The launchers that come as packages of their own; an extra of pyproject.toml has the name of each.
PACKAGES = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "ray": "ray",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "slurm_local": "hydra_plugins.hydra_submitit_launcher",
}

Settings = dict[str, Any]  # the keys of hydra.launcher


def launch(configs: Sequence[RunConfig], launcher: Sequence[str]) -> list[Failure | None]:
    """Train a run for each config; why it failed, or None when it is done.

    `launcher`: overrides that choose and set how (launcher=joblib, hydra.launcher.n_jobs=2). Raises UserError for a
    launcher that is not installed or does not take these settings, SystemExit after SIGINT or SIGTERM, when the runs
    have ended too.
    """
    chosen = next((text.partition("=")[2] for text in reversed(launcher) if text.startswith("launcher=")), "local")
    if chosen in PACKAGES and importlib.util.find_spec(PACKAGES[chosen]) is None:
        extra = chosen.removesuffix("_local")
        raise UserError(
            f"launcher={chosen} is not installed: type .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
        )
    settings = _settings(launcher, configs[0].runs)
    return LAUNCHERS[chosen](configs, environment.command(), settings)


def one_after_another(configs: Sequence[RunConfig], command: str, settings: Settings) -> list[Failure | None]:
    """launcher=local."""
    with OwnProcesses() as processes:
        outcomes = [processes.train(config, command) for config in configs]
        processes.check()
    return outcomes


def side_by_side(configs: Sequence[RunConfig], command: str, settings: Settings) -> list[Failure | None]:
    """launcher=joblib: threads, each of which waits for one process at a time. A killed process breaks no pool."""
    import joblib

    with OwnProcesses(draws=False) as processes:  # several bars would draw over each other
        train = joblib.delayed(processes.train)
        try:
            pool = joblib.Parallel(**{**settings, "backend": "threading"})
            outcomes: list[Failure | None] = pool(train(config, command) for config in configs)
        except (TypeError, ValueError) as error:  # of a key that is not as it must be, before any run
            raise UserError(f"launcher=joblib: {error}; type for example hydra.launcher.n_jobs=2") from None
        processes.check()
    return outcomes


def _settings(launcher: Sequence[str], runs: str) -> Settings:
    """The keys of hydra.launcher, of which Hydra and the launcher's plugin say what there is. `runs`: the folder."""
    preset = [f"+{text}" if text.startswith("launcher=") else text for text in launcher]
    try:
        with hydra_of_its_own(FOLDER, HYDRA_VERSION_BASE) as loader:
            config = loader.load_configuration("train", preset, RunMode.MULTIRUN)
        OmegaConf.update(config, "runs", runs)
        OmegaConf.update(config, "hydra.job.name", "synchrony")  # of the jobs of a cluster
        settings: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    except HydraException as error:
        cause = str(error.__cause__ or "").partition("\n")[0]  # what is wrong with a value; the error says where
        said = " ".join(f"{error} {cause}".split())
        raise UserError(f"{' '.join(launcher)}: {said}; configs/launcher/ has examples") from None
    return {key: value for key, value in settings.items() if key != "_target_"}


LAUNCHERS: dict[str, Callable[[Sequence[RunConfig], str, Settings], list[Failure | None]]] = {
    "local": one_after_another,
    "joblib": side_by_side,
    "ray": launch_with_ray,
    "slurm": partial(launch_with_submitit, "slurm"),
    "slurm_local": partial(launch_with_submitit, "local"),
}
