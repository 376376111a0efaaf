"""The overlap of validation with training: exact, told before a run and in its record, counted once."""

import random

import numpy as np
import pytest

from configs.schema import DataConfig
from data import overlap as overlap_module
from data.overlap import overlap, with_overlap
from data.sources import open_corpus


def array(content):
    return np.frombuffer(content, dtype=np.uint8)


def by_set(training, validation, stride=1):
    """The same, as its definition reads."""
    strings = {training[i : i + 64] for i in range(len(training) - 63)}
    looked_up = range(0, len(validation) - 63, stride)
    return sum(validation[i : i + 64] in strings for i in looked_up) / len(looked_up)


@pytest.fixture
def texts():
    """Training, and a validation that is a third copies: of its begin, its end, and across chunks."""
    rng = random.Random(0)
    training = rng.randbytes(50_000) + b"0123456789" * 1000 + rng.randbytes(40_001)
    copies = training[:500] + training[-500:] + training[49_800:50_100] + training[32_700:32_900] + training[7000:7064]
    return training, rng.randbytes(1500) + copies + rng.randbytes(63) + training[9:73] + rng.randbytes(1500)


@pytest.mark.parametrize("chunk", [97, 1000, 1 << 15])
def test_it_is_what_a_set_of_all_strings_says(texts, chunk, monkeypatch):
    monkeypatch.setattr(overlap_module, "CHUNK", chunk)
    training, validation = texts
    wanted = by_set(training, validation)
    assert 0.2 < wanted < 0.5
    assert overlap(array(training), array(validation)) == {"share": wanted, "length": 64, "stride": 1}


def test_of_a_large_split_every_kth_string_is_looked_up(texts, monkeypatch):
    training, validation = texts
    n = len(validation) - 63
    for most, stride in ((n, 1), (n - 1, 2), (n // 3, 4 if n % 3 else 3)):
        monkeypatch.setattr(overlap_module, "MOST", most)
        wanted = {"share": by_set(training, validation, stride), "length": 64, "stride": stride}
        assert overlap(array(training), array(validation)) == wanted


def test_equal_hashes_are_compared_byte_by_byte(texts, monkeypatch):
    training, _ = texts
    monkeypatch.setattr(overlap_module, "_hashes", lambda words: words[0] * np.uint64(0))
    ours = b"a" * 64
    assert overlap(array(training), array(ours))["share"] == 0.0
    assert overlap(array(training + ours), array(ours))["share"] == 1.0


@pytest.mark.parametrize(("training", "validation"), [(63, 100), (100, 63), (63, 63), (0, 0)])
def test_splits_shorter_than_a_string_have_none(training, validation):
    assert overlap(array(b"a" * training), array(b"a" * validation))["share"] == 0.0
    assert overlap(array(b"a" * 64), array(b"a" * 64))["share"] == 1.0


def test_a_corpus_is_told_it_and_it_is_counted_once(tmp_path, monkeypatch):
    file = tmp_path / "text.txt"
    file.write_bytes(b"The same line of text, again and again, until there are enough of it.\n" * 100)
    config = DataConfig(name="mine", source="text", path=str(file), cache_dir=str(tmp_path / "cache"))
    first = with_overlap(open_corpus(config))
    assert first.source["overlap"] == {"share": 1.0, "length": 64, "stride": 1}
    counted = []
    monkeypatch.setattr(overlap_module, "overlap", lambda *splits: counted.append(splits) or {"share": 0.5})
    assert with_overlap(open_corpus(config)) == first and counted == []
    config.split = [0.5, 0.25, 0.25]  # the same content, cut elsewhere
    assert with_overlap(open_corpus(config)).source["overlap"] == {"share": 0.5} and len(counted) == 1


def test_a_cache_that_takes_no_files_is_fine(tmp_path, monkeypatch):
    file = tmp_path / "text.txt"
    file.write_bytes(random.Random(1).randbytes(4000))
    corpus = open_corpus(DataConfig(name="mine", source="text", path=str(file), cache_dir=str(tmp_path / "cache")))
    monkeypatch.setattr(overlap_module, "write_whole", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert with_overlap(corpus).source["overlap"]["share"] == 0.0
