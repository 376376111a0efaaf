"""`data=code`: Python files from GitHub, `codeparrot/codeparrot-clean-valid`, or any local collection of documents.

Our choice: a document is placed in a split by the hash of its content, so copies never straddle two splits; documents
keep the order of the collection, and one that does not end in a newline is given one. Empty documents are left out.
"""

import hashlib
import json
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.schema import DataConfig
from data.columns import arrow_rows, json_rows, parquet_rows
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import SPLITS, checked_fractions, split_of_document
from data.file_kind import ARROW, HEAD, PARQUET, kind_of
from data.files import WatchedFiles, existing_file, file_sha256, kind_of_file, recorded_name, unreadable, user_path
from data.hub import HubDataset

log = logging.getLogger(__name__)

DATASET = "codeparrot/codeparrot-clean-valid"
REVISION = "4db92d2ec0c1b4c41eeb439cfae16854511d9dcd"  # the commit that public projects pin for this data set
COLUMN = "content"
CODEPARROT = HubDataset(DATASET, REVISION, COLUMN, "code", "code")
JSON_LINES = re.compile(r".*\.(json|jsonl|ndjson)(\.(gz|xz|zst|bz2))?", re.I)
IN_COLUMNS = re.compile(r".*\.(parquet|arrow)", re.I)
SHARD = re.compile(r".*\.(parquet|arrow|(jsonl|ndjson)(\.(gz|xz|zst|bz2))?|json\.(gz|xz|zst|bz2))", re.I)
MOST_OF_A_LINE = 1 << 26  # bytes, of a first line that is looked at
BESIDE_SHARDS = re.compile(r"_.*|(README|LICENSE)(\..*)?|(dataset_infos?|dataset_dict|state)\.json", re.I)


@dataclass(frozen=True)
class Collection:
    """Documents in a fixed order. Iterating twice gives the same bytes twice."""

    key: dict[str, Any]  # what decides the documents
    source: dict[str, Any]  # what the record tells of them
    documents: Callable[[], Iterator[bytes]]
    watched: WatchedFiles  # that they are read from, where these are local


def open_code(config: DataConfig) -> Corpus:
    """The corpus of the pinned data set, or of `data.path`: a folder of text files, a file of documents in a column
    `content` (Parquet, Arrow or JSON lines, also compressed), or a folder of such files.

    UserError when the data set can neither be found nor downloaded, or the local collection cannot be read.
    """
    fractions = checked_fractions(config.split)
    if config.path is None:
        collection = Collection(
            CODEPARROT.key, CODEPARROT.key, lambda: map(_encoded, CODEPARROT.rows("train")), WatchedFiles([])
        )
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
        collection.watched.require_unchanged()
        return Built(lengths, {"documents": documents})

    recipe = {"source": "code", "split": list(fractions), **collection.key}
    return cached_corpus(config, recipe, collection.source, build)


def _folder(folder: Path) -> Collection:
    """A folder of text files; or of files of documents, where all its other files only describe these."""
    names, left_out = _relative_paths(folder)
    shards = [name for name in names if not BESIDE_SHARDS.fullmatch(Path(name).name)]
    if shards and all(SHARD.fullmatch(name) or _is_json_lines(folder / name) for name in shards):
        return _shards(folder, shards)
    columns = {name for name in shards if IN_COLUMNS.fullmatch(name)}
    sizes = [sum((folder / name).stat().st_size for name in some) for some in (columns, set(shards) - columns)]
    if sizes[0] > sizes[1]:  # a program may come with some data; here the others, a log say, came with the data
        other = next(name for name in shards if name not in columns)
        raise UserError(
            f"data.path={folder} holds files of documents ({min(columns)}), and smaller others ({other}): give a "
            "folder of the first kind alone"
        )
    return _text_files(folder, names, left_out)


def _is_json_lines(path: Path) -> bool:
    """Whether a .json file holds a document in its first line, as a shard does; most are one object of many lines."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline(MOST_OF_A_LINE)) if path.suffix.lower() == ".json" else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and COLUMN in row


def _text_files(folder: Path, names: list[str], left_out: Counter[str]) -> Collection:
    """Every text file below a folder, by sorted relative path; hidden files and __pycache__ are left out. So are files
    that are not text, links, pipes and what the system does not let us read, and a line says so.
    """
    digest, files, watched = hashlib.sha256(), [], WatchedFiles(folder / name for name in names)
    for name in names:
        try:
            content = (folder / name).read_bytes()
        except OSError:
            left_out["unreadable"] += 1
            continue
        if b"\0" in content or kind_of(content[:HEAD]) is not None:
            left_out["not text"] += 1
        elif content:
            files.append(name)
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode(errors="surrogateescape"))
    told = ", ".join(f"{n:,} {what}" for what, n in sorted(left_out.items()))
    if not files:
        raise UserError(f"data.path={folder} holds no text files; give a folder with some ({told or 'it is empty'})")
    if told:
        log.warning("data.path=%s: left out: %s", folder, told)
    source = {"folder": recorded_name(folder.resolve()), "files": len(files)}
    return Collection(
        {"listing_sha256": digest.hexdigest()},
        source | ({"left_out": dict(sorted(left_out.items()))} if left_out else {}),
        lambda: (_content(folder / name) for name in files),
        watched,
    )


def _relative_paths(folder: Path) -> tuple[list[str], Counter[str]]:
    """The regular files below a folder, sorted, without following a link; how many of what else there is."""
    relative, left_out = [], Counter[str]()

    def unreadable_folder(_: OSError) -> None:
        left_out["unreadable"] += 1

    for parent, folders, names in os.walk(folder, onerror=unreadable_folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        left_out["links"] += sum((Path(parent) / name).is_symlink() for name in folders)
        for name in names:
            if name.startswith("."):
                continue
            path = Path(parent) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                relative.append(path.relative_to(folder).as_posix())
            else:
                left_out["links" if stat.S_ISLNK(mode) else "pipes, sockets or devices"] += 1
    return sorted(relative), +left_out


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _shards(folder: Path, names: list[str]) -> Collection:
    """Files of documents, one after the other in the order of their names."""
    watched = WatchedFiles(folder / name for name in names)
    collections = [_file(existing_file(str(folder / name))) for name in names]
    return Collection(
        {"files_sha256": [one.key["file_sha256"] for one in collections]},
        {"folder": recorded_name(folder.resolve()), "files": len(collections)},
        lambda: (document for one in collections for document in one.documents()),
        watched,
    )


def _file(path: Path) -> Collection:
    """A file of documents in a column `content`: Parquet, Arrow, or JSON lines, also compressed."""
    kind = kind_of_file(path)
    if kind in (PARQUET, ARROW):
        rows = partial(parquet_rows if kind is PARQUET else arrow_rows, column=COLUMN)
    elif kind is not None or JSON_LINES.fullmatch(path.name):
        rows = partial(json_rows, column=COLUMN)
    elif path.suffix == ".parquet":
        rows = partial(parquet_rows, column=COLUMN)  # damaged, as the library will say
    else:
        raise UserError(
            f"data.path={path} is not a folder, .parquet or .json.gz file; for a plain text file type data=text"
        )
    watched, digest = WatchedFiles([path]), file_sha256(path)
    key = {"file_sha256": digest, "format": path.suffix}
    source = {"file": recorded_name(path), "file_sha256": digest}
    return Collection(key, source, lambda: map(_encoded, rows(path)), watched)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold half a surrogate pair
