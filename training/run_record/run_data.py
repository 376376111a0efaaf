"""Where the data of a run is now: in the cache, by its SHA-256, or where the user says.

The run directory may be another person's, and name any file of this machine as its data. What lies at a path that only
its config names is opened where it is the very file that the run was trained on, and no folder is gone through.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from configs.errors import UserError
from configs.schema import DataConfig, EvaluationDataConfig, ParallelConfig
from data.corpus import Corpus, corpus_from_cache, facts_in_cache, holds_corpus
from data.files import file_sha256, user_path
from training.run_record.record import DataInfo

Data = TypeVar("Data", DataConfig, ParallelConfig)


def data_of_run(data: Data, trained_on: DataInfo, moved: EvaluationDataConfig, run: Path) -> tuple[Data, Corpus | None]:
    """The data config of a run as it holds here, and its text where that is in the cache. `moved`: what the user typed;
    `run`: its directory, for errors.

    UserError for a path that the user has to type.
    """
    cache = moved.cache_dir
    if cache is None and data.cache_dir is not None and holds_corpus(data.cache_dir, trained_on.sha256):
        cache = data.cache_dir  # else it is no cache of ours, and nothing is written there
    here = {name: value for name, value in vars(moved).items() if value is not None}
    data = replace(data, **here | {"cache_dir": cache})
    if moved.path is not None:
        return data, None
    text = _from_cache(data, trained_on)
    if text is None and data.path is not None and not _is_its_file(data.path, trained_on):
        raise UserError(
            f"the data {data.name} of the run in {run} is not in the cache, and not here as the file that it was "
            f"trained on, of SHA-256 {trained_on.sha256[:12]}...: type data.path=PATH, or data.cache_dir=FOLDER"
        )
    # Another test set lies beside the text, which in the cache says that the run was made on this machine.
    return data, None if moved.test is not None else text


@contextlib.contextmanager
def as_evaluated(moved: EvaluationDataConfig, run: Path) -> Iterator[None]:
    """What is wrong with data that a run is evaluated on, in words of `eval.py`: it has few of the keys of training.

    UserError. One that names a key of training is about a file that is not what the run was trained on.
    """
    try:
        yield
    except UserError as error:
        named = re.findall(r"\bdata(?:\.(\w+))?=", str(error))
        if moved.path is None or all(key in vars(moved) for key in named):
            raise
        what = str(error).partition("; ")[0]
        raise UserError(
            f"data.path={moved.path} is not what the run in {run} was trained on ({what}); type the data.path=PATH of "
            "that, or leave it out"
        ) from error


def _from_cache(data: Data, trained_on: DataInfo) -> Corpus | None:
    """The text of a run in its splits; of parallel text the record has other bytes, those of targets."""
    if not isinstance(data, ParallelConfig):
        return corpus_from_cache(data, trained_on.sha256, trained_on.bytes, trained_on.source)
    hashes = trained_on.source.get("splits_sha256")
    for lengths, facts in facts_in_cache(data, trained_on.sha256):
        if facts.get("splits_sha256") == hashes:
            return corpus_from_cache(data, trained_on.sha256, lengths, facts)
    return None


def _is_its_file(path: str | None, trained_on: DataInfo) -> bool:
    try:
        file = user_path(str(path))
        return file.is_file() and file_sha256(file) == trained_on.source.get("file_sha256")
    except (UserError, OSError, ValueError):  # ValueError: a path with a null byte
        return False
