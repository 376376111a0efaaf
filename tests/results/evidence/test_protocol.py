"""Numbers of different protocols do not stand in one table; what else differs is a footnote."""

from dataclasses import replace

import pytest

from configs.errors import UserError
from results.evidence.protocol import footnotes, require_one, row_protocol
from training.run_record.record import Device, Git


def test_all_that_differs_is_named(record):
    first, second = record("fsn", 2.0), record("transformer", 2.1)
    protocols = [row_protocol(each, each.final) for each in (first, second)]
    require_one(protocols, "a table")
    other = replace(protocols[0], unit="nats", denominator=7, tokenizer="bpe", split="test", metric="perplexity")
    with pytest.raises(UserError) as refused:
        require_one([*protocols, other], "a table")
    said = str(refused.value)
    assert said.startswith("a table: these runs cannot share a table: they differ in ")
    for words in (
        "metric: loss (2 runs), perplexity (1 run)",
        "unit: bits per byte (2 runs), nats (1 run)",
        "tokenizer: bytes (2 runs), bpe (1 run)",
        "split: validation (2 runs), test (1 run)",
        "denominator: 5000 (2 runs), 7 (1 run)",
    ):
        assert words in said
    assert "context" not in said


def test_context_is_part_of_a_protocol(record):
    config = {"model": {"name": "fsn"}, "data": {"context": 128}}
    runs = [record("fsn", 2.0), record("fsn", 2.0, config=config)]
    with pytest.raises(UserError, match=r"differ in context: 256 \(1 run\), 128 \(1 run\)"):
        require_one([row_protocol(run, run.final) for run in runs], "t")


def test_footnotes(record):
    runs = [
        record("fsn", 2.0, seed=3, git=Git("abc", True), versions={"torch": "2.13"}),
        record("fsn", 2.0, versions={"torch": "2.12", "numpy": "2"}, device=Device("cuda", "a card", 1)),
        record("osn", 2.0, versions={"torch": "2.13", "numpy": "2"}),
    ]
    runs[2].data.sha256 = "cd" * 32
    assert footnotes(runs) == [
        "Made with uncommitted changes to the code: fsn seed 3.",
        "The data had different content (SHA-256): abababababab (2 runs), cdcdcdcdcdcd (1 run).",
        "Computed on different devices: cpu a processor, 2 threads (2 runs), cuda a card, 1 thread (1 run).",
        "Different versions of numpy: unknown (1 run), 2 (2 runs).",
        "Different versions of torch: 2.13 (2 runs), 2.12 (1 run).",
    ]
    assert footnotes(runs[2:]) == []


def test_what_a_part_of_a_run_before_the_last_was_made_with_counts(record):
    part = {"device": {"kind": "cpu", "name": "a processor", "threads": 1, "count": 1}, "ssa": {}, "command": "x"}
    resumed = record("fsn", 2.0, versions={"torch": "2.13"}, git=Git("abc", False))
    resumed.earlier = [part | {"versions": {"torch": "2.12"}, "git": {"commit": "abc", "dirty": True}}]
    assert footnotes([resumed]) == [
        "Made with uncommitted changes to the code: fsn seed 0.",
        "Computed on different devices: cpu a processor, 1 thread then cpu a processor, 2 threads (1 run).",
        "Different versions of torch: 2.12 then 2.13 (1 run).",
    ]
