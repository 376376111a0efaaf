"""Runs side by side on one machine through Ray (launcher=ray).

Our own launcher: hydra-ray-launcher 1.2.2 wants cloudpickle < 3 where joblib 1.6 wants 3 or newer, brings the parts of
Ray and of AWS that start clusters, and hands no interrupt on to the runs.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from configs.errors import UserError
from configs.frozen import freeze
from configs.schema import RunConfig
from training.signals import GracefulStop, Interrupted
from training.sweeps.own_process import Failure, train_sent


@dataclass
class RayLauncherConfig:
    """The keys of hydra.launcher: num_cpus // cpus_per_run runs at a time."""

    num_cpus: int = 2  # cores that Ray hands out
    cpus_per_run: int = 1
    gpus_per_run: float = 0.0  # 0: Ray hands out no GPU, each run sees all there are

    def check(self) -> None:
        """UserError for shares that cannot be handed out."""
        if not 1 <= self.cpus_per_run <= self.num_cpus:
            raise UserError(
                f"hydra.launcher.cpus_per_run={self.cpus_per_run}: legal is 1 to hydra.launcher.num_cpus, "
                f"{self.num_cpus}"
            )
        gpus = self.gpus_per_run
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise UserError(f"hydra.launcher.gpus_per_run={gpus}: legal is a share of one GPU, or whole ones")


# `ray` is the name that hydra-ray-launcher takes, where it is installed.
ConfigStore.instance().store(group="hydra/launcher", name="ray_here", node=RayLauncherConfig)


def launch_with_ray(configs: Sequence[RunConfig], command: str, settings: Mapping[str, Any]) -> list[Failure | None]:
    """Why each run failed, with Ray's error for one whose process died, or None. Ray is started for it, and ended.

    Raises UserError for more than there is; SystemExit after SIGINT or SIGTERM, when the runs have ended too.
    """
    import ray

    given = RayLauncherConfig(**settings)
    given.check()
    # By default Ray reports over the network how it is used, and gives all else on the machine priority over runs.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(
            address="local",  # never a cluster that RAY_ADDRESS names
            num_cpus=given.num_cpus,
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
        if given.gpus_per_run > gpus:  # Ray would wait for more for ever
            raise UserError(f"hydra.launcher.gpus_per_run={given.gpus_per_run:g}: this machine has {gpus:g} GPUs")
        return _launch([freeze(config) for config in configs], command, given)
    finally:
        ray.shutdown()


def _launch(frozen: Sequence[str], command: str, given: RayLauncherConfig) -> list[Failure | None]:
    import ray

    # A run that died is not tried again in the same sweep, and each run has a process of its own.
    needs = ray.remote(num_cpus=given.cpus_per_run, num_gpus=given.gpus_per_run, max_retries=0, max_calls=1)
    start = needs(train_sent)
    with GracefulStop() as stop:  # after ray.init, which takes SIGTERM
        stop.deferred = True  # Ray swallows what a handler raises while it waits, so the loop below asks
        tasks = [start.remote(config, command) for config in frozen]
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
        return [_outcome(task) for task in tasks]


def _outcome(task: Any) -> Failure | None:
    import ray

    try:
        outcome: Failure | None = ray.get(task)
    except ray.exceptions.RayError as error:
        return Failure(" ".join(f"{type(error).__name__}: {error}".split()), its_own=False)
    return outcome
