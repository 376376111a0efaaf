"""What `make gpu` measures before it trains: the CUDA tests, the time of training steps and of attention layers."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.compose import compose
from data.atomic_write import make_parent, write_atomically
from results.evidence.layer_measurements import BENCH, PROFILES
from training.run_record.environment import SOURCES, git, versions

STEPS = {
    "paper": ["scale=1m", "device=cuda", "models=[transformer,kuramoto,fsn,fsn_native,osn]"],
    "smoke": ["scale=smoke", "batch_size=2", "context=32", "rounds=1", "threads=1", "models=[transformer,fsn]"],
}
TESTS = {"paper": "tests", "smoke": "tests/test_language_models.py"}  # the folder or file whose CUDA tests are run


@dataclass(frozen=True)
class Stage:
    """A command that leaves a result. `seconds`: about what it takes on a GPU (our guess); `done`: whether its result
    is there; `at_end`: called after it succeeded.
    """

    name: str
    what: str
    seconds: float
    command: list[str]
    done: Callable[[], bool]
    at_end: Callable[[], None] = lambda: None


def stages(profile: str, runs: Path, tables: Path, device: str) -> list[Stage]:
    """The stages of a profile in their order; their results lie in `runs`/bench and `tables`."""
    benches = runs / "bench"
    passed = benches / f"cuda-tests-{profile}.json"
    tested = {"device": device, "git": asdict(git()), "versions": versions()}
    steps = benches / f"steps-{profile}.json"
    layers = {benches / f"layers-{profile}{name}.json": own for name, own in PROFILES[profile].items()}
    target = ["-m", "results.target", "table-ssa-cost", f"profile={profile}", f"runs={runs}", f"output={tables}"]
    return [
        Stage(
            "tests",
            "the tests that need CUDA",
            300,
            [sys.executable, "-m", "pytest", "-m", "cuda", "--rootdir", str(SOURCES), str(SOURCES / TESTS[profile])],
            lambda: _json(passed) == tested,  # by this code, on this device
            lambda: _write(passed, tested),
        ),
        Stage(
            "steps",
            "time and memory of training steps, models in turn",
            120,
            [sys.executable, str(BENCH), *STEPS[profile], f"output={steps.resolve()}"],
            lambda: _measured(steps, STEPS[profile]),
        ),
        Stage(
            "layers",
            "attention layers, and blocks as the author of SSA timed them on an A100",
            300,
            [sys.executable, *target],
            lambda: all(_measured(path, ["task=layers", *own]) for path, own in layers.items()),
        ),
    ]


def _measured(path: Path, arguments: Sequence[str]) -> bool:
    """Whether a file of bench.py is there that these arguments made."""
    asked = asdict(compose("bench", arguments)) | {"output": None, "figure": None}
    content = _json(path)
    return isinstance(content, dict) and content.get("config") == asked


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _write(path: Path, content: object) -> None:
    make_parent(path)
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
