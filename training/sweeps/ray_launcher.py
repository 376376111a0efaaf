"""Runs side by side on one machine through Ray (launcher=ray).

Our own launcher: hydra-ray-launcher 1.2.2 wants cloudpickle < 3 where joblib 1.6 wants 3 or newer, brings the parts of
Ray and of AWS that start clusters, and hands no interrupt on to the runs.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from configs.errors import UserError
from configs.hydra_private import JobReturn, JobStatus, Singleton, run_job, setup_globals
from training.signals import GracefulStop, Interrupted


@dataclass
class RayLauncherConfig:
    """The keys of hydra.launcher: num_cpus // cpus_per_run runs at a time."""

    _target_: str = "training.sweeps.ray_launcher.RayLauncher"
    num_cpus: int = 2  # cores that Ray hands out
    cpus_per_run: int = 1
    gpus_per_run: float = 0.0  # 0: Ray hands out no GPU, each run sees all there are


# `ray` is the name that hydra-ray-launcher takes, where it is installed.
ConfigStore.instance().store(group="hydra/launcher", name="ray_here", node=RayLauncherConfig)


class RayLauncher(Launcher):
    """A Hydra launcher: each run is a task of a Ray that is started for the sweep, and ended with it."""

    def __init__(self, num_cpus: int, cpus_per_run: int, gpus_per_run: float) -> None:
        if not 1 <= cpus_per_run <= num_cpus:
            raise UserError(
                f"hydra.launcher.cpus_per_run={cpus_per_run}: legal is 1 to hydra.launcher.num_cpus, {num_cpus}"
            )
        if gpus_per_run < 0 or (gpus_per_run > 1 and gpus_per_run != int(gpus_per_run)):
            raise UserError(f"hydra.launcher.gpus_per_run={gpus_per_run}: legal is a share of one GPU, or whole ones")
        self.num_cpus, self.cpus_per_run, self.gpus_per_run = num_cpus, cpus_per_run, gpus_per_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """What Hydra gives a launcher before it launches."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Each run's result; FAILED with Ray's error for one whose process died.

        Raises UserError for more GPUs than there are; SystemExit after SIGINT or SIGTERM, when the runs have ended too.
        """
        import ray

        # By default Ray reports over the network how it is used, and gives all else on the machine priority over runs.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            ray.init(
                address="local",  # never a cluster that RAY_ADDRESS names
                num_cpus=self.num_cpus,
                include_dashboard=False,
                object_store_memory=78643200,  # Ray's least; nothing but configs and errors go through it
                logging_level=logging.WARNING,
            )
        except Exception as error:  # Ray gives its processes half a minute, and raises no type of its own
            raise UserError(
                f"launcher=ray: Ray did not start ({error}); its logs: /tmp/ray/session_latest/logs; "
                "when this machine is busy try again later, or type launcher=joblib"
            ) from error
        try:
            gpus = ray.cluster_resources().get("GPU", 0)
            if self.gpus_per_run > gpus:  # Ray would wait for more for ever
                raise UserError(f"hydra.launcher.gpus_per_run={self.gpus_per_run:g}: this machine has {gpus:g} GPUs")
            return self._launch(job_overrides, initial_job_idx)
        finally:
            ray.shutdown()

    def _launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        import ray

        # A run that died is not tried again in the same sweep, and each run has a process of its own.
        alone = {"max_retries": 0, "max_calls": 1}
        start = ray.remote(num_cpus=self.cpus_per_run, num_gpus=self.gpus_per_run, **alone)(_run)
        context = ray.put((self.hydra_context, self.config, self.task_function, Singleton.get_state()))
        with GracefulStop() as stop:  # after ray.init, which takes SIGTERM
            stop.deferred = True  # Ray swallows what a handler raises while it waits, so the loop below asks
            tasks = [start.remote(context, index, list(given)) for index, given in enumerate(job_overrides, first)]
            running = tasks
            try:
                while running:
                    _, running = ray.wait(running, num_returns=len(running), timeout=0.5)
                    stop.check()
            except Interrupted as interrupted:
                for task in running:
                    ray.cancel(task)  # to the process of a run this is a SIGINT
                ray.wait(running, num_returns=len(running))
                raise SystemExit(interrupted.exit_code) from None
            return [_result(task) for task in tasks]


def _run(context: tuple[HydraContext, DictConfig, TaskFunction, Any], index: int, overrides: list[str]) -> JobReturn:
    """One run, in a process of Ray's; as Hydra's own launchers do it."""
    hydra_context, config, task_function, singletons = context
    setup_globals()
    Singleton.set_state(singletons)
    composed = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = f"{composed.hydra.job.name}_{index}"
        composed.hydra.job.num = index
    HydraConfig.instance().set_config(composed)
    try:
        return run_job(task_function, composed, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context=hydra_context)
    except SystemExit as stopped:  # a run that was interrupted; to Ray it would be a process that broke
        return _failed(RuntimeError(f"stopped with exit code {stopped.code}"))


def _result(task: Any) -> JobReturn:
    import ray

    try:
        result: JobReturn = ray.get(task)
    except ray.exceptions.RayError as error:
        result = _failed(error)
    return result


def _failed(error: Exception) -> JobReturn:
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = error
    return result
