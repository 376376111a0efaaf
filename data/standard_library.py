"""`data=stdlib`: the source code of the running Python's own standard library. About 10 MB, and always there.

Left out: tests, installed packages, bundled wheels, the files that a build of Python generates about itself
(`_sysconfigdata*`, `config-*`), which hold paths of the machine that built it, and tables: codecs, HTML entities, help
topics. Modules of one package resemble each other, so a package, or a module outside of one, goes to one split whole;
tables are copies of each other in all but their numbers. The order within a split is shuffled: the first bytes of
validation come from many packages.
"""

import hashlib
import os
import platform
import re
import sysconfig
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig
from configs.text_values import argument
from data.corpus import Built, Corpus, cached_corpus
from data.cuts import SPLITS, by_hash, checked_fractions, split_of_units
from data.files import unreadable, user_path

LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"})
GENERATED = ("_sysconfigdata", "config-")
MARK = re.compile(rb"(?im)^# ?(?:auto-?generated|this file is (?:auto-?|automatically )?generated)")
LITERAL = re.compile(  # or a comment; strings on one line
    rb"""#[^\n]*|[bru]{0,2}(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|(?<![\w.])\d[\w.]*|\b(?:none|true|false)\b""",
    re.I,
)
TABLE_LINE = re.compile(rb"[][(){},:|+\-\\\s]*0[][(){},:|+\-\\\s0]*")  # literals read as 0


def source_files(root: Path) -> list[str]:
    """Relative POSIX paths, sorted, of every .py file below `root` that is part of the corpus."""
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith(GENERATED)]
        paths += [
            (Path(folder) / name).relative_to(root).as_posix()
            for name in files
            if name.endswith(".py") and not name.startswith(GENERATED)
        ]
    return sorted(paths)


def is_table(content: bytes) -> bool:
    """Whether a source file is data, not code: a comment near its top says that it was generated, or more than half of
    its lines hold nothing but literals. Blank lines and comments do not count. Our choice.
    """
    if MARK.search(content[:1000]):
        return True
    literals = LITERAL.sub(lambda match: b"" if match[0].startswith(b"#") else b"0", content)
    lines = [line for line in literals.splitlines() if line.strip()]
    return sum(TABLE_LINE.fullmatch(line) is not None for line in lines) > len(lines) / 2


def open_standard_library(config: DataConfig, root: Path | None = None) -> Corpus:
    """The standard library below `root` (None: of the running Python), split by whole packages, bytes as they are.

    UserError when there is no source code, which is so for a Python whose library is a zip file.
    """
    fractions = checked_fractions(config.split)
    if config.path is not None:
        other = "code" if user_path(config.path).is_dir() else "text"
        typed = argument("data.path", config.path)
        raise UserError(f"data=stdlib reads no file; for {config.path} type data={other} {typed}")
    root = root or Path(sysconfig.get_path("stdlib"))
    try:
        contents = {name: (root / name).read_bytes() for name in source_files(root)}
    except OSError as error:
        raise unreadable(Path(error.filename or root), error) from error
    if not contents:
        raise UserError(f"this Python has no library source code at {root}; type data=text data.path=FILE")

    def build(write: Callable[[bytes], None]) -> Built:
        kept = {name: content for name, content in contents.items() if not is_table(content)}
        sizes: Counter[str] = Counter()
        for name, content in kept.items():
            sizes[_unit(name)] += len(content)
        split_of = split_of_units(sizes, fractions)
        lengths = dict.fromkeys(SPLITS, 0)
        for split in SPLITS:
            for name in by_hash(name for name in kept if split_of[_unit(name)] == split):
                lengths[split] += len(kept[name])
                write(kept[name])
        left_out = {name: len(content) for name, content in contents.items() if name not in kept}
        return Built(
            lengths,
            {
                "files": len(kept),
                "bytes": sizes.total(),
                "packages": {split: list(split_of.values()).count(split) for split in SPLITS},
                "tables_left_out": {"files": len(left_out), "bytes": sum(left_out.values())},
            },
        )

    # Hashing every file takes a tenth of a second; it notices an edited library, which sizes and dates may not.
    listing = "\n".join(f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in contents.items())
    digest = hashlib.sha256(listing.encode()).hexdigest()
    recipe = {"source": "stdlib", "cut": "packages, no tables", "split": list(fractions), "listing_sha256": digest}
    source = {"python": platform.python_version(), "implementation": platform.python_implementation()}
    return cached_corpus(config, recipe, source, build)


def _unit(name: str) -> str:
    """What a file is kept together with: its top package, or itself."""
    return name.partition("/")[0]
