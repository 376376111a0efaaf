"""A run of a sweep in a process of its own: what kills it, or breaks its device, leaves the others alone.

The process is a `train.py` that is given a frozen config in a file. On several devices the processes that it starts
run the same command, so they read the same config, whatever command the sweep was.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from configs.command import line_of
from configs.errors import UserError
from configs.frozen import FLAG, freeze, thaw
from configs.printable import in_one_line
from configs.schema import RunConfig
from training.processes.launcher import SRUN, TORCHRUN
from training.run_record import environment
from training.signals import SIGNALS, Interrupted

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
ERROR = ".error"  # behind the name of the file with the config: where the process says why it failed
READER_LEFT = 141  # the exit code of a process whose output nobody reads any more, 128 + SIGPIPE


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish. `its_own`: the run reported it itself; false where its process was killed or never
    started, for which the run may not be to blame.
    """

    error: str
    its_own: bool = True


class OwnProcesses:
    """Starts runs and waits for them. As a context manager it hands each SIGINT and SIGTERM on to all that are under
    way, which end with a checkpoint, and at once at the second one. `draws`: whether a run may draw a bar; else it
    prints lines.
    """

    def __init__(self, draws: bool = True) -> None:
        # Not the place of this process among those of a launcher: a run starts its own.
        self._environment = {name: value for name, value in os.environ.items() if name not in (*TORCHRUN, *SRUN)}
        self._environment |= {} if draws else {"TERM": "dumb"}
        self.signum: int | None = None  # the first signal that came
        self._under_way: set[subprocess.Popen[bytes]] = set()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "OwnProcesses":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {signum: signal.signal(signum, self._hand_on) for signum in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in list(self._under_way):  # only where something broke
            process.terminate()
            process.wait()
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _hand_on(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        for process in list(self._under_way):
            process.send_signal(signum)

    def check(self) -> None:
        """Raise SystemExit if a signal has come."""
        if self.signum is not None:
            raise SystemExit(128 + self.signum)

    def train(self, config: RunConfig, command: str) -> Failure | None:
        """Train in a process of its own, in any thread; why it failed, or None when it is done or was stopped.

        `command`: as it was typed, for the record. Raises BrokenPipeError when nobody reads the output any more.
        """
        if self.signum is not None:
            return None
        print(announced(config), flush=True)
        try:
            return self._train(config, command)
        except BrokenPipeError:
            raise
        except OSError as error:  # no room for a temporary file, or for a process
            return Failure(f"its process could not be started: {error}", its_own=False)

    def _train(self, config: RunConfig, command: str) -> Failure | None:
        with tempfile.TemporaryDirectory(prefix="synchrony-run-") as folder:
            file = Path(folder, "run.json")
            file.write_text(json.dumps({"command": command, "config": freeze(config)}), encoding="utf-8")
            # Of a session of its own, so that Ctrl-C at a terminal reaches it once: through us.
            process = subprocess.Popen(
                command_of(file),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=self._environment,
            )
            self._under_way.add(process)
            if self.signum is not None:  # it came while the process was started
                process.send_signal(self.signum)
            code = process.wait()
            self._under_way.discard(process)
            if code == 0 or self.signum is not None:
                return None
            if code == READER_LEFT:
                raise BrokenPipeError
            with suppress(OSError):
                return Failure(**json.loads(Path(f"{file}{ERROR}").read_text(encoding="utf-8")))
            if code in (128 + signum for signum in SIGNALS):  # sent to it alone
                return stopped_by(code - 128)
            return Failure(ended_by(code), its_own=False)


def command_of(file: Path) -> list[str]:
    """What trains the frozen config of a file."""
    return [sys.executable, str(TRAIN), FLAG, str(file)]


def announced(config: RunConfig) -> str:
    """The line above what a run of a sweep says."""
    return f"\n{config.model.name}, scale {config.scale.name}, {config.data.name}, seed {config.seed}"


def ended_by(code: int) -> str:
    """What ended a process that had no time to say it."""
    if code >= 0:
        return f"its process ended with exit code {code} and gave no reason"
    name = signal.Signals(-code).name
    memory = ", as a system does that is out of memory" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{memory}; the same command goes on with it"


def train_frozen(file: Path) -> int:
    """What the process does: train the run that the file holds. The exit code, of which its parent reads the reason."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        config, environment.typed = thaw(content["config"]), content["command"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{FLAG} {file}: no config that a sweep wrote ({error})") from None
    from training.run import run

    try:
        run(config)
    except Interrupted as interrupted:
        return interrupted.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:
        with suppress(FileExistsError), open(f"{file}{ERROR}", "x", encoding="utf-8") as reason:
            reason.write(json.dumps(asdict(failure_of(error))))
        return error.exit_code if isinstance(error, UserError) else 1
    return 0


def train_sent(frozen: str, command: str) -> Failure | None:
    """Train what was sent to a process that has one run to do, as those of Ray and SLURM have."""
    config = thaw(frozen)
    if config.trainer.devices > 1:
        with OwnProcesses() as processes:
            failure = processes.train(config, command)
        return stopped_by(processes.signum) if processes.signum else failure
    environment.typed = command
    print(announced(config), flush=True)
    try:
        return train_here(config)
    except Interrupted as interrupted:
        return stopped_by(interrupted.exit_code - 128)


def train_here(config: RunConfig) -> Failure | None:
    """Train in this process; why it failed. Raises Interrupted after SIGINT or SIGTERM."""
    from training.run import run  # here, because a sweep that trains nothing itself needs no torch

    try:
        run(config)
    except Exception as error:
        return failure_of(error)
    return None


def stopped_by(signum: int) -> Failure:
    """Of a run that a signal ended, after a checkpoint."""
    return Failure(f"stopped by {signal.Signals(signum).name}; the same command goes on with it", its_own=False)


def failure_of(error: Exception) -> Failure:
    """An error in one line, which is printed too; for a bug of ours the traceback is printed."""
    if isinstance(error, UserError):
        line = line_of(error)
        print(f"error: {line}", file=sys.stderr, flush=True)
        return Failure(line, getattr(error, "its_own", True))
    traceback.print_exception(error)
    return Failure(in_one_line(f"{type(error).__name__}: {error}"))
