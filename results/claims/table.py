"""What is claimed by papers and summaries, beside what our records say to it.

A claim's number and ours stand in columns of their own, each with its protocol. results/claims/claim.py says what a
status means.
"""

from collections.abc import Sequence
from typing import Any

from results.claims.claim import Claim, Judge
from results.claims.load import load_claims
from results.claims.sources import Sources
from results.claims.verdict import STATUSES, Verdict
from results.document import Document, Row, Table

WORDS = ("claim", "stated", "protocol", "ours, same protocol", "status")
NONE = "none"


def judge(claim: Claim, sources: Sources) -> Verdict:
    """What may be said of a claim, from records of its own protocol alone."""
    if claim.hindered is not None:
        return Verdict(claim.hindered.status, "", claim.hindered.because)
    assert isinstance(claim.check, Judge), "load() refuses a claim that nothing hinders and nothing judges"
    return claim.check.verdict(claim, sources)


def nearest(claim: Claim, sources: Sources) -> str:
    """What other runs and measurements of ours say to the same question, each with its protocol."""
    return "; ".join(claim.check.nearest(claim, sources)) if claim.check is not None else ""


def claims_table(target: str, sources: Sources) -> Table | None:
    """The claims of a target beside our records; None where nothing is claimed."""
    claims = [claim for claim in load_claims() if claim.table == target]
    return _table("What is claimed", [(claim, judge(claim, sources)) for claim in claims], sources) if claims else None


def claims_document(sources: Sources) -> Document:
    """All claims, a table for each status that occurs."""
    judged = [(claim, judge(claim, sources)) for claim in load_claims()]
    made = Document("claims", "What is claimed, and what our records say")
    for status in STATUSES:
        if of_status := [(claim, verdict) for claim, verdict in judged if verdict.status == status]:
            made.tables.append(_table(f"{status.capitalize()}: {len(of_status)}", of_status, sources))
    return made


def _table(title: str, judged: Sequence[tuple[Claim, Verdict]], sources: Sources) -> Table:
    rows: list[Row] = []
    notes: list[str] = []
    data: list[dict[str, Any]] = []
    for claim, verdict in judged:
        near = nearest(claim, sources)
        stated = f"{', '.join(map(str, claim.values))} {claim.unit}" if claim.values else "no number"
        cells = (claim.id, stated, str(claim.protocol), verdict.ours or NONE, verdict.status)
        rows.append(dict(zip(WORDS, cells, strict=True)))
        # In the table it would be most of the width.
        ours = f" Nearest of ours, another protocol: {near}." if near else ""
        said = f'{claim.id}: "{claim.states}" ({claim.source}). {verdict.status.capitalize()}: {verdict.why}.'
        notes.append(f"{said}{ours} {claim.note}")
        both = {
            "unit": claim.unit,
            "source": claim.source,
            "status": verdict.status,
            "ours": verdict.ours,
            "nearest": near,
        }
        data += [
            {"claim": claim.id, "of": value.of, "value": value.value, "spread": value.spread} | both
            for value in claim.values
        ] or [{"claim": claim.id, "of": "", "value": None, "spread": None} | both]
    return Table(title, rows, WORDS, notes, data)
