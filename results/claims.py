"""What is claimed by papers and summaries, and what our records say to it: `python -m results.claims [output=FOLDER]`.

A claim's number and ours stand in columns of their own, each with its protocol. results/verdict.py says what a status
means.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.entry import fail, reader_left
from configs.errors import UserError
from results.claim_file import load
from results.document import Document, Table
from results.evidence import COMMITTED, read_records
from results.tables import Row
from results.verdict import STATUSES, Claim, Judge, Sources, Verdict, measurements

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


def table_for(target: str, sources: Sources) -> Table | None:
    """The claims of a target beside our records; None where nothing is claimed."""
    claims = [claim for claim in load() if claim.table == target]
    return _table("What is claimed", [(claim, judge(claim, sources)) for claim in claims], sources) if claims else None


def document(sources: Sources) -> Document:
    """All claims, a table for each status that occurs."""
    judged = [(claim, judge(claim, sources)) for claim in load()]
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: prints all claims by status and writes them beside the other tables.

    They are judged from the committed records, and those in a folder of runs where one is typed.
    """
    folders = {"output": Path("docs/tables")}
    for text in sys.argv[1:] if arguments is None else arguments:
        key, _, value = text.partition("=")
        if key not in ("output", "runs") or not value:
            raise UserError(f"{text}: results.claims takes output=FOLDER and runs=FOLDER alone")
        folders[key] = Path(value)
    if "runs" in folders and not folders["runs"].is_dir():
        raise UserError(
            f"there is no folder {folders['runs']} with runs: runs=FOLDER adds them to the committed records"
        )
    records, damaged = read_records([*([folders["runs"]] if "runs" in folders else []), COMMITTED])
    made = document(Sources(records, measurements()))
    made.notes += [f"Left out, for it cannot be read: {reason}." for reason in damaged]
    files = made.write(folders["output"])
    print(made.markdown())
    print("written: " + ", ".join(str(file) for file in files))
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except UserError as error:
        fail(error)
    except BrokenPipeError:
        reader_left()
