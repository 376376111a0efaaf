"""`data=text data.path=FILE`: any local file as it is, also .gz, .xz and .zst, cut into three runs of bytes."""

from collections.abc import Callable

from configs.errors import UserError
from configs.schema import DataConfig
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import checked_fractions, cut_run
from data.files import compression_of, existing_file, file_sha256, unpacked_chunks


def open_text(config: DataConfig) -> Corpus:
    """The corpus of one local file. UserError for a file that is missing, empty, unreadable or damaged."""
    fractions = checked_fractions(config.split)
    if config.path is None:
        raise UserError("data=text needs a file; add data.path=FILE (plain, .gz, .xz or .zst)")
    path = existing_file(config.path)

    def build(write: Callable[[bytes], None]) -> Built:
        n_bytes = 0
        for chunk in unpacked_chunks(path):
            n_bytes += len(chunk)
            write(chunk)
        if n_bytes == 0:
            raise UserError(f"data.path={config.path} unpacks to nothing; give a file with text in it")
        return Built(cut_run(n_bytes, fractions), {})

    digest, compression = file_sha256(path), compression_of(path)
    recipe = {"source": "text", "file_sha256": digest, "compression": compression, "split": list(fractions)}
    return cached_corpus(config, recipe, {"file": path.name, "file_sha256": digest}, build)
