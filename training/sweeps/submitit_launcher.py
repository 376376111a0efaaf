"""Runs as jobs of SLURM (launcher=slurm), or as if they were, on this machine (launcher=slurm_local), by submitit.

Our own launcher: that of hydra-submitit-launcher, whose keys these are, ends with the first job that was killed, and
leaves the others alone.
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from configs.errors import UserError
from configs.frozen import freeze
from configs.schema import RunConfig
from training.run_record.environment import SOURCES
from training.signals import GracefulStop, Interrupted
from training.sweeps.own_process import Failure, train_sent


class Sent:
    """What a job does."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

    def __call__(self, frozen: str, command: str) -> Failure | None:
        if self.cluster == "local":
            os.setsid()  # so that Ctrl-C at a terminal reaches it once, through who started it
        return train_sent(frozen, command)

    def checkpoint(self, *arguments: Any) -> Any:
        """What submitit asks for when the time of a job is up: the same job, which goes on from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def launch_with_submitit(
    cluster: str, configs: Sequence[RunConfig], command: str, settings: Mapping[str, Any]
) -> list[Failure | None]:
    """Why each run failed, or None. SystemExit after SIGINT or SIGTERM, when the jobs have ended too.

    `cluster`: slurm | local. `settings`: the keys of hydra.launcher. Raises UserError for settings that submitit or
    SLURM refuses.
    """
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

    # The process of a job may start in any folder, and the experiments are not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
    given = dict(settings)
    folder, timeouts = given.pop("submitit_folder"), given.pop("max_num_timeout", None)
    of_executor = {} if timeouts is None else {f"{cluster}_max_num_timeout": timeouts}
    of_all = BaseQueueConf.__dataclass_fields__
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, **of_executor)
        executor.update_parameters(**{key if key in of_all else f"{cluster}_{key}": given[key] for key in given})
    except Exception as error:  # a key that submitit does not take so, or no SLURM: it has no type of its own for them
        raise UserError(
            f"hydra.launcher: {' '.join(str(error).split())}; type launcher=joblib without its keys"
        ) from error
    with GracefulStop() as stop:
        stop.deferred = True
        take = signal.signal(signal.SIGINT, signal.SIG_IGN)  # for what submitit starts here to wait for a job
        jobs = executor.map_array(Sent(cluster), [freeze(config) for config in configs], [command] * len(configs))
        signal.signal(signal.SIGINT, take)
        stop.at_second = lambda: _stop(cluster, jobs)
        try:
            while not all(job.done() for job in jobs):
                stop.check()
                time.sleep(0.5)
        except Interrupted as interrupted:
            _stop(cluster, jobs)
            for job in jobs:
                job.wait()
            raise SystemExit(interrupted.exit_code) from None
    return [_outcome(job) for job in jobs]


def _stop(cluster: str, jobs: Sequence[Any]) -> None:
    """SIGTERM to each, as `scancel` sends it."""
    for job in jobs:
        if cluster == "slurm":
            job.cancel(check=False)  # one that has ended is no error
        elif not job.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)  # a job on this machine is named by its process


def _outcome(job: Any) -> Failure | None:
    try:
        outcome: Failure | None = job.result()
    except Exception as error:  # the job was killed or cancelled, or its time was up
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return Failure(f"{words}; what it printed is in {job.paths.stdout}", its_own=False)
    return outcome
