"""Parameter counts of the runs of a sweep, remembered on the disk.

Counting needs torch, which takes longer to load than all else that the status of a sweep does. A run always counts its
own.
"""

import contextlib
import json
import time
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig, ModelConfig
from data.atomic_write import write_atomically
from data.corpus import cache_folder
from training.budget import Parts, count
from training.run_record.environment import PACKAGES_THAT_TRAIN, source_sha256

CODE = source_sha256()  # before any of it is loaded to count with
KEPT = 30 * 24 * 3600.0  # seconds, of what other code has counted


def place() -> Path:
    """The file. UserError where there is no home folder."""
    return cache_folder(DataConfig()) / "parameters" / f"{CODE}.json"


class ParameterMemory:
    """Counts as `training.budget.count` does, or knows the answer. `save` keeps what is new, one file for each
    state of the code. Networks outside this project are always counted: their code is not in that state.
    """

    def __init__(self) -> None:
        self.new = False
        self.known: dict[str, Parts] = {}
        with contextlib.suppress(UserError, OSError, ValueError, AttributeError, TypeError):  # absent, or damaged
            content = json.loads(place().read_bytes())
            self.known = {key: parts for key, parts in content.items() if "total" in parts}

    def __call__(self, model: ModelConfig, vocabulary_size: int, task: str) -> Parts:
        network = model.translator if task == "translation" else model.network
        if network is None or network.partition(":")[0] not in PACKAGES_THAT_TRAIN:
            return count(model, vocabulary_size, task)
        key = f"{network} {vocabulary_size} {model!r}"
        if key not in self.known:
            self.known[key] = count(model, vocabulary_size, task)
            self.new = True
        return self.known[key]

    def save(self) -> None:
        """Where it cannot be written it is counted again the next time."""
        if not self.new or source_sha256() != CODE:
            return
        with contextlib.suppress(UserError, OSError):
            write_atomically(place(), json.dumps(self.known).encode())
            for other in place().parent.glob("*.json"):
                if time.time() - other.stat().st_mtime > KEPT:
                    other.unlink()
