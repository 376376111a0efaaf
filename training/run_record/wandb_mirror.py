"""Mirrors a run's local record to Weights & Biases, from a process of its own.

The other process reads metrics.jsonl as it grows. So nothing that W&B does, be it slow, stuck, failing or asking
for a password, can reach the training process: there is no shared queue, lock or terminal. It ends when its standard
input does, which also happens when the training process is killed.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from configs.counted import counted
from configs.schema import LoggerConfig

POLL_SECONDS = 1.0


class WandbMirror:
    """Starts the mirror of the run in `folder` (its record.json is there), warns once if it fails, and ends it.

    Offline by default; its files lie in `folder`/wandb. A resumed run goes on under the same W&B id.
    """

    def __init__(self, config: LoggerConfig, folder: Path) -> None:
        self.timeout = config.timeout
        self._log = folder / "wandb" / "mirror.log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = {"project": config.project, "entity": config.entity, "mode": config.mode}
        module = "training.run_record.wandb_mirror"
        command = [sys.executable, "-m", module, str(folder.resolve()), json.dumps(settings)]
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._log.parent.mkdir(exist_ok=True)
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                    start_new_session=True,  # Ctrl-C is for the training process alone
                )
        except OSError as error:
            self._warn(str(error))

    def check(self, *_: Any) -> None:
        """Warn if the mirror has died. Costs microseconds."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
            self._warn(self._last_words())

    def finish(self) -> None:
        """Let the mirror send what is left, for `timeout` seconds at most, and end it."""
        self.check()
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            code = self._process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._warn(f"not done after {counted(f'{self.timeout:g}', 'second')}")
        else:
            if code:
                self._warn(self._last_words())
        self._process = None

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = self._log.read_text(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")
        return "it ended without a word"

    def _warn(self, reason: str) -> None:
        run = self._log.parent.parent.name
        print(f"warning: {run}: the W&B mirror stopped ({reason}); the run and its local record go on", file=sys.stderr)


def mirror(folder: Path, settings: dict[str, Any], stdin: TextIO) -> None:
    """Send the rows of `folder`/metrics.jsonl to W&B until `stdin` ends. Everything W&B happens in here."""
    import wandb

    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    run = wandb.init(
        **settings,
        # The config names the run; when it was started tells it from one that was overwritten.
        id=f"{record['config_hash']}-{''.join(c for c in record['started'] if c.isdigit())[:14]}",
        name=folder.name,
        dir=str(folder),
        config=record["config"],
        resume="allow",
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        ),
    )
    for row in follow(folder / "metrics.jsonl", stdin):
        run.log(dict(values_of(row)), step=row["step"])
    run.finish()


def values_of(row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a row by W&B's names: validation/nats, synchrony/theta/layer0.head1, ...accuracy_at_256."""
    for name, value in row.items():
        if name == "synchrony":
            for quantity, layers in value.items():
                for layer, heads in enumerate(layers):
                    yield from ((f"synchrony/{quantity}/layer{layer}.head{h}", x) for h, x in enumerate(heads))
        elif name == "lengths":
            for at in value:
                yield from ((f"{row['split']}/{key}_at_{at['context']}", at[key]) for key in ("nats", "accuracy"))
        elif name not in ("step", "split"):
            yield f"{row['split']}/{name}", value


def follow(path: Path, stdin: TextIO) -> Iterator[dict[str, Any]]:
    """The rows of a file that grows, until `stdin` ends and all of them were given."""
    ended = False
    with path.open(encoding="utf-8") as file:
        rest = ""
        while True:
            *lines, rest = (rest + file.read()).split("\n")
            yield from map(json.loads, lines)
            if ended:
                return
            ready, _, _ = select.select([stdin], [], [], POLL_SECONDS)
            ended = bool(ready) and not stdin.read(1)


if __name__ == "__main__":
    mirror(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.stdin)
