"""The processes that a run starts beside itself, one per further device of this machine.

Each is `python -m training.processes.child` and reads on its standard input the config, resolved, and its place. So it
trains what its parent trains, whatever command that came from: a sweep, a notebook, a test. The end of its standard
input is that of its parent, and ends it too.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

from configs.frozen import freeze
from configs.schema import RunConfig
from training.processes.launcher import Place

WAIT = 60.0  # seconds that a process has to end after the last step


class Children:
    """The processes of ranks 1, 2, ... of a run whose rank 0 this process is."""

    def __init__(self) -> None:
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, config: RunConfig, place: Place) -> None:
        """Start them; `place` is that of rank 0, with the port where it waits."""
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
        # -P: the folder in which the command was typed is no place for modules, unless it was for the parent.
        command = [sys.executable, "-P", "-m", "training.processes.child"]
        # Of a lost connection torch would tell some thirty lines of C++; whose it was, rank 0 tells.
        environment = {"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, "PYTHONPATH": path}
        for rank in range(1, place.size):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
            self.processes[rank] = process
            assert process.stdin is not None
            told: dict[str, Any] = {
                "config": freeze(config),
                "place": asdict(replace(place, rank=rank, local_rank=rank)),
            }
            with contextlib.suppress(BrokenPipeError):  # it died at once; `dead` tells how
                process.stdin.write(json.dumps(told).encode() + b"\n")
                process.stdin.flush()

    def dead(self) -> tuple[int, str] | None:
        """The rank that ended with an error, and how; None where there is none."""
        codes = [(process.poll() or 0, rank) for rank, process in self.processes.items()]
        code, rank = min(
            ((code, rank) for code, rank in codes if code), default=(0, 0)
        )  # by a signal before by an error
        return (rank, how(code)) if code else None

    def wait(self) -> None:
        """Wait until all have ended, which they do after the last step; one that does not is killed."""
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WAIT)
        self.kill()

    def kill(self) -> None:
        """End all at once."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        self.processes = {}


def how(code: int) -> str:
    """What an exit code says: `killed by SIGKILL, ...`."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (", as the system does when memory is short" if name == "SIGKILL" else "")
