"""`data=text data.path=FILE`: any local file as it is, or unpacked, cut into three runs of bytes."""

from collections.abc import Callable, Iterator
from typing import Any

from configs.errors import UserError
from configs.schema import DataConfig
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import checked_fractions, cut_run
from data.files import WatchedFiles, existing_file, file_sha256, recorded_name
from data.unpacking import NotText, as_it_is, compression_of, unpacked_chunks

UNPACKING = 2  # of the recipe: to be counted up when a compressed file is read otherwise; 2 reads all of its streams


def open_text(config: DataConfig) -> Corpus:
    """The corpus of one local file. UserError for a file that is missing, empty, unreadable, damaged or no text."""
    return open_file(config, {}, lambda chunks: chunks)


def open_file(config: DataConfig, recipe: dict[str, Any], read: Callable[[Iterator[bytes]], Iterator[bytes]]) -> Corpus:
    """The corpus of what `read` makes of a local file's content. `recipe` names what it does, for the cache."""
    fractions = checked_fractions(config.split)
    if config.path is None:
        raise UserError(f"data={config.source} needs a file; type data.path=FILE (plain, .gz, .xz, .zst or .bz2)")
    path = existing_file(config.path)
    try:
        compression = None if config.as_bytes else compression_of(path)
    except NotText as error:
        if config.source != "text":
            raise
        raise UserError(f"{error}, or type data.as_bytes=true for its bytes as they are") from error
    watched, digest = WatchedFiles([path]), file_sha256(path)

    def build(write: Callable[[bytes], None]) -> Built:
        n_bytes = 0
        for chunk in read(as_it_is(path) if config.as_bytes else unpacked_chunks(path)):
            n_bytes += len(chunk)
            write(chunk)
        watched.require_unchanged()
        if n_bytes == 0:
            raise UserError(f"data.path={config.path} unpacks to nothing; give a file with text in it")
        return Built(cut_run(n_bytes, fractions), {})

    if compression is not None:
        recipe = {"unpacking": UNPACKING, **recipe}
    recipe = {"source": config.source, "file_sha256": digest, "compression": compression, **recipe}
    recipe["split"] = list(fractions)
    return cached_corpus(config, recipe, {"file": recorded_name(path), "file_sha256": digest}, build)
