"""`data=text8` on a small file of the official format: it is of 27 characters, and anything else is refused."""

import functools
import hashlib
import zipfile

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from data.letters import LETTERS
from data.official_file import OfficialFile
from data.sources import SOURCES, open_corpus
from data.text8 import TEXT8, open_text8

CONTENT = np.random.default_rng(0).choice(list(b" etaoin"), 20_000).astype(np.uint8).tobytes()


@pytest.fixture
def opened(tmp_path, monkeypatch):
    path = tmp_path / "text8.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", CONTENT)
    official = OfficialFile(
        url="http://127.0.0.1:9/text8.zip",
        zip_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member="text8",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        split=(18_000, 1_000, 1_000),
        alphabet=LETTERS,
    )
    monkeypatch.setitem(SOURCES, "text8", functools.partial(open_text8, official=official))

    def opened(content=None, **options):
        file = tmp_path / "text8"
        if content is not None:
            file.write_bytes(content)
        given = {"name": "text8", "source": "text8", "tokenizer": "characters", "cache_dir": str(tmp_path / "cache")}
        return open_corpus(DataConfig(path=str(path if content is None else file), **given | options))

    return opened


def test_the_zip_and_the_unpacked_file_are_27_characters(opened):
    for corpus in (opened(), opened(CONTENT)):
        assert corpus.bytes_per_split() == corpus.tokens_per_split()
        assert corpus.bytes_per_split() == {"train": 18_000, "validation": 1_000, "test": 1_000}
        assert corpus.vocabulary_size == 27
        tokens = np.concatenate([corpus.split(name).tokens for name in ("train", "validation", "test")])
        assert bytes(LETTERS[token] for token in tokens) == CONTENT


def test_other_content_is_one_line(opened):
    for content, says in (
        (CONTENT[:-1] + b"A", r"is not the official text8: it has b'A', which is none of its 27 characters"),
        (CONTENT[:-1], "is not the official text8: expected 20,000 bytes, found 19,999"),
        (CONTENT[::-1], "is not the official text8: expected SHA-256"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            opened(content)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be used with data=text8, whose split is fixed"):
        opened(split=[0.8, 0.1, 0.1])


def test_the_official_file():
    assert TEXT8.n_bytes == 100_000_000 and TEXT8.split == (90_000_000, 5_000_000, 5_000_000)
    assert TEXT8.alphabet == b" abcdefghijklmnopqrstuvwxyz"
    assert len({TEXT8.sha256, TEXT8.zip_sha256}) == 2 and all(len(h) == 64 for h in (TEXT8.sha256, TEXT8.zip_sha256))
