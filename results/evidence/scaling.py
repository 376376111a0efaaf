"""Measurements of `bench.py task=scaling`, and the laws that are fitted to them.

The laws follow from the arithmetic of a step of a fixed number of tokens. Along N, attention adds to each token what is
proportional to N; what a window has once adds memory as 1 / N. Along the width w, with a feed-forward in proportion,
products with weights grow as w^2 and attention as w; memory has a part that does not grow. Along the parameters depth
and width both grow, and a power law summarises. Coefficients are least squares of the relative deviation, of the power
law of the logarithms (our choice).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from configs.errors import UserError
from training.benchmarks.scaling import ScalingPoint
from training.run_record.record import Git
from training.run_record.strict_json import CheckedAs, Count, read_strictly

AXES = {"context": 1024, "width": 128, "parameters": 1_000_000}  # and the unit that laws are written in
LETTERS = {"context": "n", "width": "v", "parameters": "P"}
# By (axis, quantity), powers of the terms; those of the parameters are power laws.
TERMS = {
    ("context", "FLOPs"): (0, 1),
    ("context", "time"): (0, 1),
    ("context", "memory"): (0, 1, -1),
    ("width", "FLOPs"): (1, 2),
    ("width", "time"): (1, 2),
    ("width", "memory"): (0, 1, 2),
}
LEAST = 0.005  # of the quantity that a term is somewhere, or it is left out (our choice)
WRITTEN = {0: "", 1: " {0}", 2: " {0}^2", -1: " / {0}"}


@with_config(extra="allow")
class ScalingConfig(TypedDict):
    """Of the config what the page reads."""

    task: Literal["scaling"]
    models: Annotated[list[str], Field(min_length=1)]
    batch_size: Count
    context: Count
    rounds: Count
    device: str
    precision: str
    threads: Count | None


@with_config(extra="forbid")
class ScalingFile(TypedDict):
    """What `bench.py task=scaling` writes."""

    config: Annotated[dict[str, Any], CheckedAs(ScalingConfig)]
    device: str
    versions: dict[str, str]
    git: Annotated[dict[str, Any], CheckedAs(Git)]
    points: Annotated[list[ScalingPoint], Field(min_length=1)]


@dataclass(frozen=True)
class Fit:
    """`law`: as text; `at(value)`: what it gives; `error`: the largest relative deviation of a measured point."""

    law: str
    at: Callable[[float], float]
    error: float


def read_scaling(path: Path) -> ScalingFile:
    """Raises UserError, one line, for a file that is no such measurement."""
    try:
        content, _ = read_strictly(path, TypeAdapter(ScalingFile), "measurement of scaling")
    except (FileNotFoundError, UserError) as error:
        raise UserError(f"{error}; measure with bench.py task=scaling output={path}") from None
    return content


def quantities(tokens: int) -> dict[str, Callable[[ScalingPoint], float]]:
    """What is fitted, in the units of the page: millions of operations and microseconds a token, MiB a step."""
    return {
        "FLOPs": lambda point: point.flops_per_token / 1e6,
        "time": lambda point: 1e6 * point.seconds / tokens,
        "memory": lambda point: point.memory_bytes / 2**20,
    }


def along(points: Sequence[ScalingPoint], axis: str, model: str) -> list[ScalingPoint]:
    """The points of a model on an axis, in order."""
    return sorted((p for p in points if (p.axis, p.model) == (axis, model)), key=lambda point: point.value)


def fit(points: Sequence[ScalingPoint], axis: str, quantity: str, of: Callable[[ScalingPoint], float]) -> Fit | None:
    """The law of a quantity along an axis; None where there are not more points than coefficients."""
    unit, letter = AXES[axis], LETTERS[axis]
    x = np.array([point.value / unit for point in points])
    y = np.array([of(point) for point in points])
    powers = TERMS.get((axis, quantity))
    if len(points) <= (2 if powers is None else len(powers)):
        return None
    if powers is None:
        exponent, intercept = np.polyfit(np.log(x), np.log(y), 1)
        factor = float(np.exp(intercept))
        law, at = (
            f"{_rounded(factor)} {letter}^{exponent:.2f}",
            lambda value: factor * (value / unit) ** float(exponent),
        )
    else:
        terms = np.stack([x**power for power in powers], axis=1)
        factors, *_ = np.linalg.lstsq(terms / y[:, None], np.ones(len(y)), rcond=None)
        largest = np.abs(terms * factors / y[:, None]).max(axis=0)
        kept = {p: float(f) for p, f, share in zip(powers, factors, largest, strict=True) if share > LEAST}
        law = " ".join(
            f"{'-' if f < 0 else '+'} {_rounded(abs(f))}{WRITTEN[p].format(letter)}" for p, f in kept.items()
        )
        law = law.removeprefix("+ ")
        at = lambda value: sum(f * (value / unit) ** p for p, f in kept.items())  # noqa: E731
    error = max(abs(at(point.value) / of(point) - 1) for point in points)
    return Fit(law, at, float(error))


def _rounded(value: float) -> str:
    """To three digits, without powers of ten."""
    return f"{float(f'{value:.3g}'):,g}"
