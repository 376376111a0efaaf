"""The kinds of tables and figures, as `table.kind` of a sweep file names them, and what builds each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.sweeps import Sweep
from results import checkpoints, evaluated, finals, ladder, rates, synchrony
from results.document import Document
from results.evidence import Evidence, gather

Build = Callable[[Evidence, Document, Path, str], None]

BUILD: dict[str, Build] = {
    "checkpoints": checkpoints.build,
    "finals": finals.build,
    "rates": rates.build,
    "scale": ladder.build,
    "copy_depth": evaluated.build_copy_depth,
    "coupling": evaluated.build_coupling,
    "synchrony": synchrony.build,
}


def gather_for(sweep: Sweep, *found: Any) -> list[Evidence]:
    """The evidence for a sweep as its kind takes it; what is `found` is as for `results.evidence.gather`."""
    return (rates.gather_all if sweep.kind == "rates" else gather)(sweep, *found)


def build(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add to the document what the sweep is for. `folder`, `stem`: where figures go, and how their names begin."""
    BUILD[evidence.sweep.kind](evidence, document, folder, stem)
