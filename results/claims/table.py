"""What papers and summaries claim, beside what our records say about it. A claim's number and ours have columns of
their own, each with its protocol. results/claims/claim.py says what a status means.
"""

from collections.abc import Sequence
from typing import Any

from results.claims.claim import Judge
from results.claims.load import Claim, load_claims
from results.claims.sources import Sources
from results.claims.verdict import STATUSES, Verdict
from results.document import Document, Row, Table

WORDS = ("claim", "stated", "protocol", "ours, same protocol", "status")
NONE = "none"
LEGEND = (
    "± of ours is a 95 % interval over seeds, by copy depth over text and seeds, and a side (below, above, not "
    "significant) is that of the whole interval. ± of a source is as printed there, without a word on what it is. "
    "Levels are judged only where a source states context, batch and windows; differences and orders apart from them."
)


def judge(claim: Claim, sources: Sources) -> Verdict:
    """What may be said of a claim, from records of its own protocol alone."""
    if claim.hindered is not None:
        return Verdict(claim.hindered.status, "", claim.hindered.because)
    assert isinstance(claim.check, Judge), "a claim that nothing hinders and nothing judges is refused"
    return claim.check.verdict(claim, sources)


def nearest(claim: Claim, sources: Sources) -> str:
    """What other runs and measurements of ours say about the same question, each with its protocol."""
    return "; ".join(claim.check.nearest(claim, sources)) if claim.check is not None else ""


def claims_table(target: str, sources: Sources) -> Table | None:
    """The claims of a target beside our records; None where nothing is claimed."""
    claims = [claim for claim in load_claims() if claim.table == target]
    return _table("What is claimed", [(claim, judge(claim, sources)) for claim in claims], sources) if claims else None


def claims_document(sources: Sources) -> Document:
    """All claims, a table for each status that occurs."""
    judged = [(claim, judge(claim, sources)) for claim in load_claims()]
    document = Document("claims", "What is claimed, and what our records say")
    for status in STATUSES:
        if chosen := [(claim, verdict) for claim, verdict in judged if verdict.status == status]:
            document.tables.append(_table(f"{status.capitalize()}: {len(chosen)}", chosen, sources))
    return document


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
        said = f"{claim.id}: {claim.states} ({claim.source}). {verdict.status.capitalize()}: {verdict.why}."
        notes.append(f"{said}{ours} {claim.note}")
        numbers = [value.model_dump() for value in claim.values] or [{"subject": "", "value": None, "spread": None}]
        both = {"unit": claim.unit, "source": claim.source, "status": verdict.status}
        data += [{"claim": claim.id, **number, **both, "ours": verdict.ours, "nearest": near} for number in numbers]
    return Table(title, rows, WORDS, [*notes, LEGEND], data)
