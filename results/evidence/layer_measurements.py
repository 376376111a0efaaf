"""Measurements of attention layers (`bench.py task=layers`): which a profile takes, and what was measured alike.

Two files are of one protocol where device, precision, shape of the layer and what was timed are equal. Only those stand
in one table, and their layers and lengths add up. A layer measured twice at one length is refused; the unit may be.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, StrictBool, TypeAdapter, with_config
from typing_extensions import TypedDict

from configs.compose import compose
from configs.counted import counted
from configs.errors import UserError
from configs.schema import BLOCKS
from data.atomic_write import make_parent
from training.benchmarks.layers import LayerTiming
from training.run_record.record import Git
from training.run_record.strict_json import CheckedAs, Count, Number, read_strictly

BENCH = Path(__file__).resolve().parents[2] / "bench.py"
COMMITTED_BENCHES = Path(__file__).parents[1] / "records" / "bench"
# What the author of SSA measured: the forward pass alone.
AUTHORS = ("lengths=[128,256,512,1024,2048,4096]", "d_model=512", "n_heads=8", "backward=false")
OF_BLOCKS = f"layers=[{','.join(BLOCKS)}]"
# By profile, the passes: what each adds to the file's name, and its overrides of bench.yaml.
PROFILES: dict[str, dict[str, list[str]]] = {
    "smoke": {"": ["lengths=[64,128]", "d_model=64", "n_heads=2", "rounds=1"]},
    "cpu": {
        "": ["lengths=[128,256,512,1024,2048]", "rounds=5", "threads=1"],
        # The dense forms hold several N x N matrices of every head for the backward pass: 9 GB here, a minute a step.
        "-4096": ["lengths=[4096]", "rounds=3", "threads=1"],
        "-blocks": [*AUTHORS, OF_BLOCKS, "rounds=5", "threads=1"],
    },
    # The author's own table is of blocks, on a GPU; the layers beside them.
    "paper": {"": [*AUTHORS, "device=cuda"], "-blocks": [*AUTHORS, OF_BLOCKS, "device=cuda"]},
}
SAME_PROTOCOL = ("device", "precision", "compile", "backward", "d_model", "n_heads", "threads")  # keys of the config


@with_config(extra="allow")
class LayersConfig(TypedDict):
    """Of the config what tables read."""

    task: Literal["layers"]
    layers: Annotated[list[str], Field(min_length=1)]
    d_model: Count
    n_heads: Count
    rounds: Count
    device: str
    precision: str
    compile: StrictBool
    backward: StrictBool
    threads: Count | None


@with_config(extra="forbid")
class LayersFile(TypedDict):
    """What `bench.py task=layers` writes."""

    config: Annotated[dict[str, Any], CheckedAs(LayersConfig)]
    device: str
    versions: NotRequired[dict[str, str]]
    git: Annotated[dict[str, Any], CheckedAs(Git)]
    timings: list[LayerTiming]
    memory_exponents: NotRequired[dict[str, Number | None]]


@dataclass(frozen=True)
class Measurement:
    """One file of `bench.py task=layers`."""

    path: Path
    config: dict[str, Any]
    device: str  # its name
    git: dict[str, Any]
    versions: dict[str, str]
    timings: list[LayerTiming]

    @property
    def protocol(self) -> tuple[object, ...]:
        return self.device, self.unit in BLOCKS, *(self.config.get(key) for key in SAME_PROTOCOL)

    @property
    def where(self) -> str:
        """What it was measured on: of a CPU with how many threads."""
        if self.config["device"] != "cpu":
            return self.device
        count = self.config["threads"]
        threads = "torch's own number of threads" if count is None else counted(count, "thread")
        return f"{self.device}, {threads}"

    @property
    def unit(self) -> str:
        """The layer that ratios are to."""
        return str(self.config["layers"][0])


def measure_layer_cost(profile: str, folder: Path, overrides: Sequence[str] = ()) -> None:
    """Run the passes of a profile into `folder`, except those whose result is there; `overrides`: of every pass.

    Raises UserError for overrides that bench.py does not take, SystemExit with its code where it fails.
    """
    for name, own in PROFILES[profile].items():
        # A process of its own: what another measurement left in an allocator or a compiler would be measured too.
        arguments = ["task=layers", *own, *overrides]
        config = asdict(compose("bench", arguments)) | {"output": None, "figure": None}
        path = folder / f"layers-{profile}{name}.json"
        if path.exists() and read_measurement(path).config == config:
            print(f"measured before: {path}; delete it to measure again")
            continue
        make_parent(path)
        done = subprocess.run([sys.executable, str(BENCH), *arguments, f"output={path.resolve()}"])
        if done.returncode:
            raise SystemExit(done.returncode)


def measurement_files(profile: str | None, folder: Path) -> list[Path]:
    """The files of a profile in `folder`, without one the committed ones."""
    if profile is None:
        return sorted(COMMITTED_BENCHES.glob("layers-*.json"), key=lambda path: path.stem)
    named = [folder / f"layers-{profile}{name}.json" for name in PROFILES[profile]]
    return [path for path in named if path.exists()]


def read_measurement(path: Path) -> Measurement:
    """Raises UserError, one line, for a file that is not a measurement of layers."""
    try:
        content, _ = read_strictly(path, TypeAdapter(LayersFile), "measurement of layers")
    except (FileNotFoundError, UserError) as error:
        raise UserError(f"{error}; measure again with bench.py task=layers output={path}") from None
    versions = content.get("versions", {})
    return Measurement(path, content["config"], content["device"], content["git"], versions, content["timings"])


def grouped(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Those of one protocol together. UserError for two of one protocol with other units, or with the same numbers.

    The unit alone is in every pass, because ratios are taken within a pass; of one length the first is kept.
    """
    groups: dict[tuple[object, ...], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault(measurement.protocol, []).append(measurement)
    return [_added_up(group) for group in groups.values()]


def _added_up(group: Sequence[Measurement]) -> list[Measurement]:
    seen: dict[tuple[str, int], Path] = {}
    for one in group:
        if one.unit != group[0].unit:
            raise UserError(
                f"{group[0].path} and {one.path} cannot share a table: ratios are to {group[0].unit} in one "
                f"and to {one.unit} in the other; measure again with layers=[{group[0].unit},...]"
            )
        for timing in one.timings:
            other = seen.setdefault((timing.layer, timing.tokens), one.path)
            if other != one.path and timing.layer != one.unit:
                raise UserError(
                    f"{other} and {one.path} both measure {timing.layer} at {timing.tokens:,} tokens on "
                    f"{one.device}; delete the older one"
                )
    return [replace(one, timings=[t for t in one.timings if seen[t.layer, t.tokens] == one.path]) for one in group]
