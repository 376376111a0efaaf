"""`data=code`: Python files from GitHub, `codeparrot/codeparrot-clean-valid`, or any local collection of documents.

Our choice: a document is placed in a split by the hash of its content, so copies never straddle two splits; documents
keep the order of the collection, and one that does not end in a newline is given one. Empty documents are left out.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.schema import DataConfig
from data.columns import first_line, parquet_rows, text_of
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import SPLITS, checked_fractions, split_of_document
from data.files import existing_file, file_sha256, unreadable, user_path

DATASET = "codeparrot/codeparrot-clean-valid"
REVISION = "4db92d2ec0c1b4c41eeb439cfae16854511d9dcd"  # the commit that public projects pin for this data set
COLUMN = "content"


@dataclass(frozen=True)
class Collection:
    """Documents in a fixed order. Iterating twice gives the same bytes twice."""

    key: dict[str, str]  # what decides the documents
    source: dict[str, Any]  # what the record tells of them
    documents: Callable[[], Iterator[bytes]]


def open_code(config: DataConfig) -> Corpus:
    """The corpus of the pinned data set, or of `data.path`: a folder of text files, a .parquet or a .json.gz file.

    UserError when the data set can neither be found nor downloaded, or the local collection cannot be read.
    """
    fractions = checked_fractions(config.split)
    if config.path is None:
        collection = _hub()
    elif user_path(config.path).is_dir():
        collection = _folder(user_path(config.path))
    else:
        collection = _file(existing_file(config.path))

    def build(write: Callable[[bytes], None]) -> Built:
        lengths, documents = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        for split in SPLITS:  # a pass for each: collections may be larger than memory
            for document in collection.documents():
                if document and split_of_document(document, fractions) == split:
                    ended = document if document.endswith(b"\n") else document + b"\n"
                    lengths[split] += len(ended)
                    documents[split] += 1
                    write(ended)
        return Built(lengths, {"documents": documents})

    recipe = {"source": "code", "split": list(fractions), **collection.key}
    return cached_corpus(config, recipe, collection.source, build)


def _hub() -> Collection:
    """The pinned data set, through `datasets` (which keeps its own cache of the download)."""

    def documents() -> Iterator[bytes]:
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise UserError("data=code needs the package datasets; pip install datasets, or add data.path=") from error
        try:
            dataset = load_dataset(DATASET, revision=REVISION, split="train")
        except Exception as error:  # the hub client raises a dozen kinds, from several libraries
            raise UserError(
                f"cannot get {DATASET} at revision {REVISION[:8]} from https://huggingface.co/datasets/{DATASET} "
                f"({first_line(error)}); go online once, or add data.path=FOLDER of files or FILE (.parquet, .json.gz)"
            ) from error
        for batch in dataset.select_columns(COLUMN).iter(batch_size=256):
            for text in batch[COLUMN]:
                yield _encoded(text)

    key = {"dataset": DATASET, "revision": REVISION}
    return Collection(key, key, documents)


def _folder(folder: Path) -> Collection:
    """Every text file below a folder, by sorted relative path; hidden files, __pycache__ and binary files left out."""
    digest, files = hashlib.sha256(), []
    for name in _relative_paths(folder):
        content = _content(folder / name)
        if content and b"\0" not in content:
            files.append(name)
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode(errors="surrogateescape"))
    if not files:
        raise UserError(f"data.path={folder} holds no text files; give a folder with some, or a file")

    def documents() -> Iterator[bytes]:
        return (_content(folder / name) for name in files)

    return Collection(
        {"listing_sha256": digest.hexdigest()}, {"folder": folder.resolve().name, "files": len(files)}, documents
    )


def _relative_paths(folder: Path) -> list[str]:
    relative = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        paths = [Path(parent) / name for name in names if not name.startswith(".")]
        relative += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return sorted(relative)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _file(path: Path) -> Collection:
    """A file of documents in a column `content`: Parquet, or JSON lines (plain or .gz)."""
    if path.suffix == ".parquet":
        rows = partial(parquet_rows, column=COLUMN)
    elif path.name.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz")):
        rows = _json_rows
    else:
        raise UserError(
            f"data.path={path} is not a folder, .parquet or .json.gz file; for a plain text file use data=text"
        )
    digest = file_sha256(path)
    key = {"file_sha256": digest, "format": path.suffix}
    return Collection(key, {"file": path.name, "file_sha256": digest}, lambda: map(_encoded, rows(path)))


def _json_rows(path: Path) -> Iterator[str]:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                row = json.loads(line)
                if not isinstance(row, dict) or COLUMN not in row:
                    raise UserError(f"line {number} of {path} has no field {COLUMN}; rename the one with the text")
                yield text_of(row[COLUMN], path, COLUMN)
    except ValueError as error:
        raise UserError(f"line {number} of {path} is not JSON ({first_line(error)}); give one object a line") from error
    except (EOFError, zlib.error, OSError) as error:
        raise UserError(f"{path} is damaged or cannot be read ({first_line(error)}); get it again") from error


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold half a surrogate pair
