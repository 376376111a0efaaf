"""The kinds of tables and figures, as `table.kind` of a sweep file names them, and what builds each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.sweeps import Sweep
from results.document import Document
from results.evidence.runs import Evidence, gather
from results.tables import checkpoints, copy_depth, coupling, heads, rates, recall, scale, translation, variants

Adder = Callable[[Evidence, Document, Path, str], None]

ADDERS: dict[str, Adder] = {
    "checkpoints": checkpoints.add_checkpoints,
    "finals": variants.add_variants,
    "rates": rates.add_rates,
    "scale": scale.add_scale,
    "copy_depth": copy_depth.add_copy_depth,
    "coupling": coupling.add_coupling,
    "synchrony": heads.add_heads,
    "recall": recall.add_recall,
    "translation": translation.add_translation,
}


def gather_for(sweep: Sweep, *arguments: Any) -> list[Evidence]:
    """The evidence for a sweep as its kind takes it; `arguments` are those of `results.evidence.runs.gather`."""
    return {"rates": rates.gather_all, "recall": recall.gather_kinds}.get(sweep.kind, gather)(sweep, *arguments)


def add_tables(evidence: Evidence, document: Document, folder: Path, stem: str) -> None:
    """Add to the document what the sweep is for. `folder`, `stem`: where figures go, and how their names begin."""
    ADDERS[evidence.sweep.kind](evidence, document, folder, stem)
