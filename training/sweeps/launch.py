"""Runs started by Hydra's launchers: one after another here, or side by side (launcher=joblib, ray, slurm)."""

import importlib.util
import traceback
from collections.abc import Sequence

from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from configs.command import print_anywhere
from configs.compose import resolve_entry
from configs.errors import UserError
from configs.groups import FOLDER, HYDRA_VERSION_BASE
from configs.hydra_private import Callbacks, ConfigLoader, JobReturn, Plugins, hydra_of_its_own
from training.run import run
from training.signals import Interrupted
from training.sweeps.ray_launcher import RayLauncher, RayLauncherConfig

# The launchers that come as packages of their own; an extra of pyproject.toml has the name of each.
PACKAGES = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "ray": "ray",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "slurm_local": "hydra_plugins.hydra_submitit_launcher",
}


def launch(jobs: Sequence[Sequence[str]], launcher: Sequence[str]) -> list[str | None]:
    """Train a run for each list of overrides; its error, or None when it is done.

    `launcher`: overrides that choose and set the Hydra launcher (launcher=joblib, hydra.launcher.n_jobs=2).
    Raises UserError for a launcher that is not installed, SystemExit after SIGINT or SIGTERM.
    """
    chosen = next((text.partition("=")[2] for text in reversed(launcher) if text.startswith("launcher=")), "local")
    if chosen in PACKAGES and importlib.util.find_spec(PACKAGES[chosen]) is None:
        extra = chosen.removesuffix("_local")
        raise UserError(
            f"launcher={chosen} is not installed: type .venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
        )
    preset = [f"+{text}" if text.startswith("launcher=") else text for text in launcher]
    # Several progress bars would draw over each other, and a cluster's logs want no bar.
    quiet = [] if chosen == "local" else ["trainer.progress=false"]
    with hydra_of_its_own(FOLDER, HYDRA_VERSION_BASE) as loader:
        starter = _starter(HydraContext(config_loader=loader, callbacks=Callbacks()), _configured(loader, preset))
        results = starter.launch([[*overrides, *quiet] for overrides in jobs], 0)
    return [_outcome(result) for result in results]


def _starter(context: HydraContext, config: DictConfig) -> Launcher:
    settings = {str(key): value for key, value in config.hydra.launcher.items()}
    if settings.pop("_target_") != RayLauncherConfig._target_:
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=train_one, config=config)
    starter = RayLauncher(**settings)  # by hand: Hydra makes launchers of its plugins alone
    starter.setup(hydra_context=context, task_function=train_one, config=config)
    return starter


def _configured(loader: ConfigLoader, preset: list[str]) -> DictConfig:
    try:
        config = loader.load_configuration("train", preset, RunMode.MULTIRUN)
    except HydraException as error:
        raise UserError(f"{' '.join(preset)}: {' '.join(str(error).split())}") from None
    # Hydra composes each job with the same keys of its own again, but without the group that has the launcher's.
    kept = [text for text in config.hydra.overrides.hydra if not text.startswith("hydra.launcher.")]
    config.hydra.overrides.hydra = kept
    return config


def _outcome(result: JobReturn) -> str | None:
    try:
        error: str | None = result.return_value
    except Exception as failure:  # the launcher itself failed: a worker was killed, a job was cancelled
        return f"{type(failure).__name__}: {failure}"
    return error


def train_one(cfg: DictConfig) -> str | None:
    """What a launcher calls, maybe in another process: train one run; its error, or None when it is done."""
    print_anywhere()
    try:
        config = resolve_entry("train", cfg)
        print(f"\n{config.model.name}, scale {config.scale.name}, {config.data.name}, seed {config.seed}", flush=True)
        run(config)
    except UserError as error:
        return " ".join(str(error).split())
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None
