"""Parallel text in local files: which files a split has, and their pairs of sentences, line by line.

Three forms. Two text files that differ in the language (train.en and train.de, also .gz, .xz, .zst, .bz2, with .tok,
.en-de or .de-en before the language); one table of two columns, the source first, with a tab between (train.tsv);
Parquet with a column `translation` or a column a language (train-00000-of-00003.parquet).

Our choices. In a table blank lines are skipped, and so is a first line that names the languages. Quotation marks are
text, as in all files of sentences; where every column is in quotes, a line says so.
"""

import difflib
import itertools
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs.counted import counted
from configs.errors import UserError
from configs.schema import ParallelConfig
from configs.text_values import argument
from data.columns import parquet_pairs
from data.files import existing_file, kind_of_file, missing_file, user_path
from data.lines import text_lines
from data.unpacking import SUFFIXES, compression_of, refused

log = logging.getLogger(__name__)

Pair = tuple[str, str]  # a sentence and its translation

NAMES = {  # of the files of a split, where the user names none
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev", "newstest2013"),
    "test": ("test", "newstest2014", "test_2016_flickr"),
}
INFIXES = ("", ".tok", ".en-de", ".de-en")  # between that name and the language
PACKED = ("", *SUFFIXES)
AFTER_PREFIX = ("", ".", "-", "_")  # between what all names begin with and that of the split
OF_SEVERAL = re.compile(r"-of-(\d+)\.parquet$")
OF_HUB = "de-en"  # the folder of the data set wmt/wmt14 with its Parquet files


@dataclass(frozen=True)
class PairFiles:
    """The files of a split and how they are read. Reading twice gives the same pairs twice."""

    files: list[Path]
    pairs: Callable[[], Iterator[Pair]]


def pair_files(config: ParallelConfig, split: str) -> PairFiles:
    """The files of a split in `data.path`, a folder or what names begin with.

    UserError where there are none, one language is missing, or one is empty, unreadable or no text.
    """
    lonely: list[tuple[Path, str]] = []
    for base in _bases(config, split):
        found = _texts(base, config.languages, lonely) or _table(base, config.languages)
        for path in found.files if found else ():
            compression_of(existing_file(str(path)))
        if found := found or _parquets(base, config.languages):
            return found
    if lonely:
        here, language = lonely[0]
        raise UserError(f"{here} is there and the same sentences in the language {language} are not; add that file")
    raise _missing(config, split)


def _bases(config: ParallelConfig, split: str) -> Iterator[Path]:
    """Paths of a split's files up to the language or the form."""
    path, chosen = user_path(str(config.path)), getattr(config, split)
    names = NAMES[split] if chosen is None else (chosen,)
    if path.is_dir():
        return (folder / name for folder in (path, path / OF_HUB) for name in names)
    return (path.with_name(path.name + after + name) for after in AFTER_PREFIX for name in names)


def _texts(base: Path, languages: tuple[str, str], lonely: list[tuple[Path, str]]) -> PairFiles | None:
    """Two text files. Where one is missing, the other is noted, with the language of that one."""
    for infix in INFIXES:
        names = [[f"{base.name}{infix}.{language}{packed}" for packed in PACKED] for language in languages]
        found = [next(filter(Path.is_file, (base.with_name(one) for one in of)), None) for of in names]
        source, target = found
        if source and target:
            return PairFiles([source, target], partial(_text_pairs, source, target))
        lonely += [(path, other) for path, other in zip(found, reversed(languages), strict=True) if path]
    return None


def _table(base: Path, languages: tuple[str, str]) -> PairFiles | None:
    path = next(filter(Path.is_file, (base.with_name(f"{base.name}.tsv{packed}") for packed in PACKED)), None)
    return None if path is None else PairFiles([path], partial(_table_pairs, path, languages))


def _parquets(base: Path, languages: tuple[str, str]) -> PairFiles | None:
    """One file, or several that are numbered, in the order of their names."""
    paths = [path for path in sorted(base.parent.glob("*.parquet")) if _is_part(path.name, base.name)]
    if not paths:
        return None
    for path in paths:
        existing_file(str(path))
    whole = max((int(found[1]) for path in paths if (found := OF_SEVERAL.search(path.name))), default=len(paths))
    if len(paths) != whole:
        raise UserError(
            f"{base.parent} has {len(paths)} of the {whole} files of {base.name} ({paths[0].name}); add the others"
        )
    return PairFiles(paths, lambda: itertools.chain.from_iterable(parquet_pairs(path, languages) for path in paths))


def _is_part(name: str, of: str) -> bool:
    return name == f"{of}.parquet" or name.startswith(f"{of}-0")


def _missing(config: ParallelConfig, split: str) -> UserError:
    path, name = user_path(str(config.path)), getattr(config, split) or NAMES[split][0]
    if path.is_file():
        if (kind := kind_of_file(path)) is not None and kind.advice:  # an archive, say
            raise refused(path, kind)
        given = argument("data.path", str(Path(str(config.path)).parent))
        return UserError(
            f"data.path={config.path} is one file; give the folder of the files of all splits: type {given}"
        )
    folder = path if path.is_dir() else path.parent
    begins = "" if path.is_dir() else path.name
    there = sorted(one.name for one in folder.iterdir() if one.name.startswith(begins)) if folder.is_dir() else []
    source, target = (f"{begins and begins + '.'}{name}.{language}" for language in config.languages)
    if not there and not path.is_dir():
        if path.is_symlink():
            return missing_file(str(config.path))
        here = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, here, n=1)
        nearest = f"; the nearest name there is {near[0]}" if near else ""
        return UserError(
            f"data.path={config.path} does not exist (looked at {path.absolute()}, for a folder, and for {source} and "
            f"{target}){nearest}; give a folder, or what the names of its files begin with"
        )
    return UserError(
        f"data.path={config.path} has no {split} split: no {source} and {target} (also compressed), {name}.tsv or "
        f"{name}*.parquet; it holds {', '.join(there[:4]) or 'nothing'}{', ...' if there[4:] else ''}; type "
        f"data.{split}=NAME for NAME.{config.languages[0]} and NAME.{config.languages[1]}"
    )


def _text_pairs(source: Path, target: Path) -> Iterator[Pair]:
    """UserError where one file has more lines than the other, and as of `text_lines`."""
    lines = [text_lines(source), text_lines(target)]
    for number, (first, second) in enumerate(itertools.zip_longest(*lines)):
        if first is None or second is None:
            ended, longer = (0, 1) if first is None else (1, 0)
            counts = [number, number]
            counts[longer] += 1 + sum(1 for _ in lines[longer])
            raise UserError(
                f"{source} has {counted(counts[0], 'line')} and {target} {counts[1]:,}: line by line one has to "
                f"translate the other; get {(source, target)[ended]} again, or both"
            )
        yield first, second


def _table_pairs(path: Path, languages: tuple[str, str]) -> Iterator[Pair]:
    rows = quoted = 0
    for number, line in enumerate(text_lines(path), start=1):
        columns = line.split("\t")
        if not line or (number == 1 and tuple(columns) == languages):
            continue
        if len(columns) != 2:
            raise UserError(
                f"line {number} of {path} has {len(columns)} columns; give two, the source and its translation, with a "
                "tab between"
            )
        rows += 1
        quoted += all(len(column) > 1 and column[0] == column[-1] == '"' for column in columns)
        yield columns[0], columns[1]
    if rows == quoted > 1:
        log.warning("%s: all columns stand in quotation marks, which are read as text; write it without these", path)
