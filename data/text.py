"""`data=text data.path=FILE`: any local file as it is, also .gz, .xz and .zst, cut into three runs of bytes."""

from collections.abc import Callable, Iterator
from typing import Any

from configs.errors import UserError
from configs.schema import DataConfig
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import checked_fractions, cut_run
from data.files import compression_of, existing_file, file_sha256, unpacked_chunks


def open_text(config: DataConfig) -> Corpus:
    """The corpus of one local file. UserError for a file that is missing, empty, unreadable or damaged."""
    return open_file(config, {}, lambda chunks: chunks)


def open_file(config: DataConfig, recipe: dict[str, Any], read: Callable[[Iterator[bytes]], Iterator[bytes]]) -> Corpus:
    """The corpus of what `read` makes of a local file's content. `recipe` names what it does, for the cache."""
    fractions = checked_fractions(config.split)
    if config.path is None:
        raise UserError(f"data={config.source} needs a file; add data.path=FILE (plain, .gz, .xz or .zst)")
    path = existing_file(config.path)

    def build(write: Callable[[bytes], None]) -> Built:
        n_bytes = 0
        for chunk in read(unpacked_chunks(path)):
            n_bytes += len(chunk)
            write(chunk)
        if n_bytes == 0:
            raise UserError(f"data.path={config.path} unpacks to nothing; give a file with text in it")
        return Built(cut_run(n_bytes, fractions), {})

    digest, compression = file_sha256(path), compression_of(path)
    recipe = {"source": config.source, "file_sha256": digest, "compression": compression, **recipe}
    recipe["split"] = list(fractions)
    return cached_corpus(config, recipe, {"file": path.name, "file_sha256": digest}, build)
