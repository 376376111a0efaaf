"""`data=stdlib`: the source code of the running Python's own standard library. About 10 MB, and always there.

Left out: tests, installed packages, bundled wheels, and the files that a build of Python generates about itself
(`_sysconfigdata*`, `config-*`), which hold paths of the machine that built it.
"""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Callable
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig
from data.corpus import Built, Corpus, cached_corpus
from data.files import file_sha256, unreadable
from data.splits import SPLITS, checked_fractions, split_of_files

LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"})
GENERATED = ("_sysconfigdata", "config-")


def source_files(root: Path) -> list[str]:
    """Relative POSIX paths, sorted, of every .py file below `root` that is part of the corpus."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith(GENERATED)]
        found += [
            (Path(folder) / name).relative_to(root).as_posix()
            for name in files
            if name.endswith(".py") and not name.startswith(GENERATED)
        ]
    return sorted(found)


def open_standard_library(config: DataConfig, root: Path | None = None) -> Corpus:
    """The standard library below `root` (None: of the running Python), split by whole files, bytes as they are.

    UserError when there is no source code, which is so for a Python whose library is a zip file.
    """
    fractions = checked_fractions(config.split)
    if config.path is not None:
        raise UserError(f"data=stdlib reads no file; for {config.path} type data=text data.path={config.path}")
    root = root or Path(sysconfig.get_path("stdlib"))
    files = source_files(root)
    if not files:
        raise UserError(f"this Python has no library source code at {root}; use data=text data.path=FILE")
    try:
        sizes = {name: (root / name).stat().st_size for name in files}
    except OSError as error:
        raise unreadable(root, error) from error
    split_of = split_of_files(sizes, fractions)
    order = [(split, name) for split in SPLITS for name in files if split_of[name] == split]

    def build(write: Callable[[bytes], None]) -> Built:
        lengths = dict.fromkeys(SPLITS, 0)
        for split, name in order:
            try:
                content = (root / name).read_bytes()
            except OSError as error:
                raise unreadable(root / name, error) from error
            lengths[split] += len(content)
            write(content)
        return Built(lengths, {})

    # Hashing every file takes a tenth of a second; it notices an edited library, which sizes and dates may not.
    listing = "\n".join(f"{split} {name} {file_sha256(root / name)}" for split, name in order)
    recipe = {"source": "stdlib", "listing_sha256": hashlib.sha256(listing.encode()).hexdigest()}
    source = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "files": len(files),
        "bytes": sum(sizes.values()),
    }
    return cached_corpus(config, recipe, source, build)
