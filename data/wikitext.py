"""`data=wikitext103`: WikiText-103 (Merity et al. 2016, arXiv 1609.07843) with its official splits, raw or word level.

From the pinned data set through `datasets`, or from a local folder. All give the bytes of the official files, whose
lines are ` w1 w2 ... wn \\n`, each blank one ` \\n`. The data set holds a line a row, and nothing for a blank line.

Our choice: a line of the word-level text that is spaced otherwise is spaced so, and counted in the record
(`respaced_lines`); the files seen so far have none. Words are runs of bytes that are not ASCII white space, and each
line ends with one more, <eos>. Published counts: 103,227,021 / 217,646 / 245,569, of a vocabulary of 267,735.
"""

import re
import shlex
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.schema import DataConfig
from data.columns import arrow_rows, parquet_rows
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import SPLITS
from data.files import WatchedFiles, existing_file, file_sha256, recorded_name, user_path
from data.hub import HubDataset
from data.lines import byte_lines
from data.tokenizers import WORDS
from data.unpacking import SUFFIXES

DATASET = "Salesforce/wikitext"
REVISION = "b08601e04326c79dfdd32d625aee71d232d685c3"  # the commit that public projects pin for this data set
COLUMN = "text"
BLANK = b" \n"
PACKED = ("", *SUFFIXES)

Lines = Callable[[str], Iterator[bytes]]  # of a split


@dataclass(frozen=True)
class Source:
    """Where lines come from: what decides them, what the record tells of that, and the lines of each split."""

    key: dict[str, Any]
    told: dict[str, Any]
    lines: Lines
    watched: WatchedFiles


def open_wikitext103(config: DataConfig) -> Corpus:
    """The corpus from the pinned data set, or from the folder `data.path`: the official text files (also .xz, .gz,
    .zst), Parquet or Arrow.

    UserError where neither is there or whole, and for a `data.split`.
    """
    if list(config.split) != list(DataConfig().split):
        raise UserError(
            f"data.split={list(config.split)} cannot be used with data=wikitext103, whose splits are official; leave "
            "data.split out, or type data=text data.path=FILE"
        )
    source = _hub(config) if config.path is None else _folder(config)

    def build(write: Callable[[bytes], None]) -> Built:
        lengths, lines, words = ({name: 0 for name in SPLITS} for _ in range(3))
        respaced = 0
        for name in SPLITS:
            for line in source.lines(name):
                here = line.split()
                if not config.raw:
                    spaced = b" ".join([b"", *here, b"\n"])
                    respaced += spaced != line
                    line = spaced
                lengths[name] += len(line)
                lines[name] += 1
                words[name] += len(here) + 1
                write(line)
        source.watched.require_unchanged()
        return Built(lengths, {"lines": lines, "words": words} | ({} if config.raw else {"respaced_lines": respaced}))

    return cached_corpus(config, {"source": config.source, "raw": config.raw, **source.key}, source.told, build)


def _subset(raw: bool) -> str:
    """The name of the text within the data set."""
    return "wikitext-103-raw-v1" if raw else "wikitext-103-v1"


def _hub(config: DataConfig) -> Source:
    """The pinned data set."""
    dataset = HubDataset(DATASET, REVISION, COLUMN, "wikitext103", "wikitext", _subset(config.raw))
    return Source(dataset.key, dataset.key, lambda split: map(_line, dataset.rows(split)), WatchedFiles([]))


def _line(row: str) -> bytes:
    """A row of the data set as the line of the official file."""
    content = row.encode() or BLANK
    return content if content.endswith(b"\n") else content + b"\n"


def _folder(config: DataConfig) -> Source:
    """The files of a folder, or of the folder in it that has the name of the text."""
    folder = user_path(str(config.path))
    if zipfile.is_zipfile(folder):
        raise UserError(
            f"data.path={config.path} is a zip file; type unzip {shlex.quote(str(folder))}, and data.path=FOLDER for "
            "its folder"
        )
    if not folder.is_dir():
        raise UserError(f"data.path={config.path} is not a folder; give one with the files of WikiText-103")
    if found := _found(folder, config.raw):
        return _files(config, *found)
    there = sorted(path.name for path in folder.iterdir())[:4]
    advice = "give the folder of its files"
    if _found(folder, not config.raw):
        advice = (
            f"type data.raw={str(not config.raw).lower()} for the {'word-level' if config.raw else 'raw'} text there"
        )
        advice += " and data.tokenizer=bpe" if config.tokenizer == WORDS else ""
    raise UserError(
        f"data.path={config.path} holds {', '.join(there) or 'nothing'} and no {_official('train', config.raw)} (also "
        f".xz, .gz, .zst), train*.parquet or train*.arrow; {advice}"
    )


def _found(folder: Path, raw: bool) -> tuple[dict[str, list[Path]], Callable[[Path], Iterator[bytes]]] | None:
    """The files of each split, where there are any, and what reads their lines."""
    unpacked = "wikitext-103-raw" if raw else "wikitext-103"  # of the official zip files
    for place in (folder, folder / _subset(raw), folder / unpacked):
        for form, read in ((_texts, _text_lines), (_parquets, _parquet_lines), (_arrows, _arrow_lines)):
            files = {split: form(place, split, raw) for split in SPLITS}
            if any(files.values()):
                return files, read
    return None


def _files(config: DataConfig, files: dict[str, list[Path]], read: Callable[[Path], Iterator[bytes]]) -> Source:
    """Lines of local files, several to a split one after the other. UserError where a split has none."""
    for split in SPLITS:
        if not files[split]:
            raise UserError(f"data.path={config.path} has no file of the {split} split; get it again, whole")
    watched = WatchedFiles(path for split in SPLITS for path in files[split])
    hashes = {split: [file_sha256(existing_file(str(path))) for path in files[split]] for split in SPLITS}
    names = {split: [recorded_name(path) for path in files[split]] for split in SPLITS}
    return Source(
        {"files_sha256": hashes},
        {"files": names, "files_sha256": hashes},
        lambda split: (line for path in files[split] for line in read(path)),
        watched,
    )


def _official(split: str, raw: bool) -> str:
    return f"wiki.{'valid' if split == 'validation' else split}.{'raw' if raw else 'tokens'}"


def _texts(folder: Path, split: str, raw: bool) -> list[Path]:
    paths = (folder / (_official(split, raw) + packed) for packed in PACKED)
    return [path for path in paths if path.is_file()][:1]


def _parquets(folder: Path, split: str, raw: bool) -> list[Path]:
    return _named(folder, split, ".parquet")


def _arrows(folder: Path, split: str, raw: bool) -> list[Path]:
    return _named(folder, split, ".arrow")


def _named(folder: Path, split: str, suffix: str) -> list[Path]:
    """`train-00000-of-00002.parquet`, `wikitext-train.arrow`; or any name in a folder `train`. Sorted by name."""
    of_split = re.compile(rf"(^|.*[-_.]){split}[-_.].*")
    paths = [path for path in folder.glob(f"*{suffix}") if of_split.fullmatch(path.name)]
    return sorted(paths or folder.glob(f"{split}/*{suffix}"))


def _text_lines(path: Path) -> Iterator[bytes]:
    return (line + b"\n" for line in byte_lines(path))


def _parquet_lines(path: Path) -> Iterator[bytes]:
    return map(_line, parquet_rows(path, COLUMN))


def _arrow_lines(path: Path) -> Iterator[bytes]:
    return map(_line, arrow_rows(path, COLUMN))
