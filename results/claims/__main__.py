"""What is claimed, and what our records say about it: `python -m results.claims [output=FOLDER] [runs=FOLDER]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import end_with
from configs.errors import UserError
from results.evidence.runs import COMMITTED, read_records


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: prints all claims by status and writes them beside the other tables.

    They are judged from the committed records, and those in a folder of runs where one is typed. Exit code 1 when a
    record cannot be read: they are judged without it.
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
    # Torch comes with these, which takes seconds: once the arguments are right.
    from results.claims.sources import Sources, measurements
    from results.claims.table import claims_document

    records, damaged = read_records([*([folders["runs"]] if "runs" in folders else []), COMMITTED])
    document = claims_document(Sources(records, measurements()))
    document.notes += [f"Left out, because it cannot be read: {reason}." for reason in damaged]
    files = document.write(folders["output"])
    print(document.markdown())
    print("written: " + ", ".join(str(file) for file in files))
    for reason in damaged:
        print(f"left out, because it cannot be read: {reason}", file=sys.stderr)
    return int(bool(damaged))


if __name__ == "__main__":
    end_with(main, __doc__)
