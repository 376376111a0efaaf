"""A corpus: text in three splits, as tokens that are memory-mapped from a cache keyed by content hash.

The cache folder holds two files per corpus. `<sha256>.bin` is the content, its three splits one after the other: bytes
of text, or tokens of the smallest unsigned type that holds the vocabulary, made from such bytes by a tokenizer.
`<source>-<key>.json` says how a recipe (what was read, and how it was cut) led to that content. A reader sees a whole
file or none: processes that start at once may both build, and both end with the same whole cache. What is found in
the cache is checked against its hash before it is used.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from configs.counted import counted
from configs.errors import UserError
from configs.heartbeat import doing
from configs.schema import DataConfig, ParallelConfig
from data.atomic_write import write_whole
from data.cuts import SPLITS
from data.files import user_path
from data.mapped_file import MappedFile
from data.split import Split
from data.tokenizers import Tokenizer, WordTokenizer, chunks

log = logging.getLogger(__name__)

SHA256 = re.compile("[0-9a-f]{64}")
FORMAT = 1  # of the cache; a cache of another format is built again


@dataclass(frozen=True)
class Corpus:
    """Text to model, in three splits, and the tokens it is read as."""

    name: str
    sha256: str  # of the bytes of text: train, validation, test, one after the other
    path: Path  # the tokens in the cache
    splits: dict[str, tuple[int, int]]  # first byte of text, one past the last
    source: dict[str, Any]  # what it was made of, as plain JSON
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    # First token, one past the last; empty: as `splits`.
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    tokens_sha256: str | None = None  # of the tokens as they lie in the cache, where they are not bytes
    text_path: Path | None = None  # the bytes in the cache, where tokens are not these

    @property
    def vocabulary_size(self) -> int:
        return self.tokenizer.vocabulary_size

    @property
    def counts_words(self) -> bool:
        """Whether its loss is also given per word: its words were counted, or they are its tokens."""
        return isinstance(self.tokenizer, WordTokenizer) or "words" in self.source

    def split(self, name: str) -> Split:
        """The tokens of a split, read-only, memory-mapped. UserError for a split that does not exist."""
        if name not in self.splits:
            raise UserError(f"split={name} does not exist; choose one of {', '.join(self.splits)}")
        tokens = self._file.array(self.tokenizer.dtype, *(self.tokens or self.splits)[name])
        return replace(self.tokenizer.split(tokens), file=self._file)

    def text(self, name: str) -> np.ndarray:
        """The bytes of text of a split: (n,) uint8, read-only, memory-mapped."""
        return self._text_file.array(np.uint8, *self.splits[name])

    @cached_property
    def _file(self) -> MappedFile:
        return MappedFile(self.path, self.tokens_sha256 or self.sha256)

    @cached_property
    def _text_file(self) -> MappedFile:
        return self._file if self.text_path is None else MappedFile(self.text_path, self.sha256)

    def bytes_per_split(self) -> dict[str, int]:
        """How many bytes of text each split has."""
        return {name: stop - start for name, (start, stop) in self.splits.items()}

    def tokens_per_split(self) -> dict[str, int]:
        """How many tokens each split has."""
        return {name: stop - start for name, (start, stop) in (self.tokens or self.splits).items()}


@dataclass(frozen=True)
class Built:
    """What a builder wrote: the bytes of each split, and facts only known after reading (plain JSON)."""

    lengths: dict[str, int]
    facts: dict[str, Any]


Builder = Callable[[Callable[[bytes], None]], Built]


def cache_folder(config: DataConfig | ParallelConfig) -> Path:
    """`data.cache_dir`, else $SYNCHRONY_CACHE, else ~/.cache/synchrony. UserError where there is no home folder."""
    if not config.cache_dir and (named := os.environ.get("SYNCHRONY_CACHE")):
        return user_path(named, "SYNCHRONY_CACHE")
    return user_path(config.cache_dir or "~/.cache/synchrony", "data.cache_dir")


def cached_corpus(
    config: DataConfig | ParallelConfig, recipe: dict[str, Any], source: dict[str, Any], build: Builder
) -> Corpus:
    """The corpus that `recipe` describes, from the cache when it is there and whole, else built.

    `recipe` names everything that decides the content (hashes of what is read, the split). `build(write)` passes the
    content to `write`, split after split. UserError when a split ends empty or the cache cannot be written.
    """
    folder = cache_folder(config)
    meta = _read_meta(_meta_path(folder, recipe), recipe)
    if meta is None or not _is_whole(folder, meta):
        meta = _build(config, recipe, build, folder)
    return Corpus(
        name=config.name,
        sha256=meta["sha256"],
        path=_content_path(folder, meta["sha256"]),
        splits=_ranges(meta["lengths"]),
        source={**source, **meta["facts"]},
    )


def holds_corpus(folder: str, sha256: str) -> bool:
    """Whether a folder is a cache that has a corpus of this SHA-256, which may be any text."""
    try:
        return SHA256.fullmatch(sha256) is not None and _content_path(user_path(folder), sha256).is_file()
    except UserError:  # ~name of a user of another machine
        return False


def corpus_from_cache(
    config: DataConfig | ParallelConfig, sha256: str, lengths: dict[str, int], facts: dict[str, Any]
) -> Corpus | None:
    """The corpus of this SHA-256 as it lies in the cache, without a look at its source; None: it is not there whole, or
    has not so many bytes.
    """
    folder = cache_folder(config)
    whole = list(lengths) == list(SPLITS) and min(lengths.values()) > 0 and holds_corpus(str(folder), sha256)
    if not whole or not _is_whole(folder, {"sha256": sha256, "lengths": lengths}):
        return None
    return Corpus(config.name, sha256, _content_path(folder, sha256), _ranges(lengths), facts)


def facts_in_cache(config: DataConfig | ParallelConfig, sha256: str) -> Iterator[tuple[dict[str, int], dict[str, Any]]]:
    """Bytes by split, and facts, that the cache has of a text; several where it was cut in several ways."""
    for path in sorted(cache_folder(config).glob(f"{config.source}-*.json")):
        meta = _read_meta(path)
        if meta is not None and meta["sha256"] == sha256:
            yield meta["lengths"], meta["facts"]


def tokenized(config: DataConfig, text: Corpus, tokenizer: Tokenizer) -> Corpus:
    """A corpus of bytes as tokens of another tokenizer, from the cache when they are there and whole, else made.

    Splits are tokenized separately, in chunks that end after a newline. UserError as of `cached_corpus`, and for a
    tokenizer whose tokens do not decode to the exact bytes of the text.
    """
    dtype = np.dtype(tokenizer.dtype)

    def build(write: Callable[[bytes], None]) -> Built:
        lengths = dict.fromkeys(SPLITS, 0)
        for name in SPLITS:
            doing(f"cutting {text.name}, {name}, into tokens")
            for chunk in chunks(text.text(name)):
                content = tokenizer.encode(chunk).tobytes()
                lengths[name] += len(content)
                write(content)
        return Built(lengths, {})

    recipe = {"source": "tokens", "text_sha256": text.sha256, "splits": text.bytes_per_split(), **tokenizer.recipe}
    content = cached_corpus(config, recipe, {}, build)
    tokens = {name: (start // dtype.itemsize, stop // dtype.itemsize) for name, (start, stop) in content.splits.items()}
    return replace(
        text,
        path=content.path,
        tokenizer=tokenizer,
        tokens=tokens,
        tokens_sha256=content.sha256,
        text_path=text.path,
    )


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """What the system says while the cache is written, as one line. Sources report their own reading errors."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write the data cache in {folder}: {reason}; make room or choose another data.cache_dir=FOLDER"
        ) from error


def _build(config: DataConfig | ParallelConfig, recipe: dict[str, Any], build: Builder, folder: Path) -> dict[str, Any]:
    """Content and meta file, in this order: a meta file never describes content that is not there. Returns the meta."""
    meta: dict[str, Any] = {"format": FORMAT, "recipe": recipe}
    doing(f"preparing the data, {config.name}")

    def fill_content(file: BinaryIO) -> str:
        digest = hashlib.sha256()

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        built = build(write)
        _check_lengths(config, built.lengths)
        meta.update(sha256=digest.hexdigest(), lengths=built.lengths, facts=built.facts)
        return _content_path(folder, meta["sha256"]).name

    def fill_meta(file: BinaryIO) -> str:
        file.write(json.dumps(meta, indent=1).encode())
        return _meta_path(folder, recipe).name

    with cache_errors(folder):
        write_whole(folder, fill_content)
        write_whole(folder, fill_meta)
    return meta


def _check_lengths(config: DataConfig | ParallelConfig, lengths: dict[str, int]) -> None:
    for name in SPLITS:
        if lengths[name] == 0:
            what = config.path or f"data={config.source}"
            if isinstance(config, ParallelConfig):  # its splits are files
                raise UserError(f"the {name} split of {what} is empty; give files with sentences in them")
            if config.source == "code":
                raise UserError(
                    f"the {name} split of {what} is empty: a document goes to a split by its hash, and these are too "
                    "few; give more files, or one file and data=text"
                )
            raise UserError(
                f"the {name} split of {what} is empty ({counted(sum(lengths.values()), 'byte')} in all, "
                f"data.split={list(config.split)}); give more text or a larger share to {name}"
            )


def _read_meta(path: Path, recipe: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """A meta file's content, or None when it is absent, broken or describes something other than `recipe`, if given."""
    try:
        meta = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        log.warning("the data cache's %s is damaged; building it again", path)
        return None
    whole = (
        isinstance(meta, dict)
        and meta.get("format") == FORMAT
        and (recipe is None or meta.get("recipe") == json.loads(_canonical(recipe)))
        and isinstance(meta.get("sha256"), str)
        and re.fullmatch("[0-9a-f]{64}", meta["sha256"]) is not None
        and isinstance(meta.get("facts"), dict)
        and isinstance(meta.get("lengths"), dict)
        and list(meta["lengths"]) == list(SPLITS)
        and all(isinstance(n, int) and n > 0 for n in meta["lengths"].values())
    )
    if not whole:
        log.warning("the data cache's %s is not what it should be; building it again", path)
    return meta if whole else None


def _is_whole(folder: Path, meta: dict[str, Any]) -> bool:
    """Whether the cached content has the size and the hash that its meta file promises."""
    doing("checking the hash of the data in the cache")
    path = _content_path(folder, meta["sha256"])
    try:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size == sum(meta["lengths"].values())
            whole = whole and hashlib.file_digest(file, "sha256").hexdigest() == meta["sha256"]
    except FileNotFoundError:
        return False
    except OSError:
        whole = False
    if not whole:
        log.warning("the data cache's %s is damaged; building it again", path)
    return whole


def _content_path(folder: Path, sha256: str) -> Path:
    return folder / f"{sha256}.bin"


def _ranges(lengths: dict[str, int]) -> dict[str, tuple[int, int]]:
    ranges, start = {}, 0
    for name in SPLITS:
        ranges[name] = (start, start + lengths[name])
        start += lengths[name]
    return ranges


def _meta_path(folder: Path, recipe: dict[str, Any]) -> Path:
    return folder / f"{recipe['source']}-{hashlib.sha256(_canonical(recipe)).hexdigest()[:16]}.json"


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
