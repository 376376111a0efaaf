"""Tables put comparable runs side by side, and refuse others."""

from dataclasses import replace

import pytest

from configs.errors import UserError
from results.document import markdown
from results.evidence.settings import usual_settings
from results.tables.comparison import comparison
from training.run_record.record import DataInfo


def test_rows_hold_what_was_measured_best_first(record):
    rows = comparison([record("transformer", 2.5), record("fsn", 2.25)])
    assert rows == [
        {
            "model": name,
            "bits per byte": bits,
            "tokens": "122,880",
            "parameters": "250,000",
            "MFLOPs/token": "0.00",
            "tokens/s": "12,346",
            "seconds": "79",
        }
        for name, bits in (("fsn", "2.2500"), ("transformer", "2.5000"))  # the standard error over windows is not shown
    ]


def test_an_interval_over_text_is_shown_where_the_row_says_over_how_many_blocks(record):
    run = record("fsn", 2.25)
    run = replace(run, final=run.final | {"standard_error": 0.01, "blocks": 50})
    assert comparison([run])[0]["bits per byte"] == "2.2500 ± 0.0201"  # t(49) = 2.00958


def test_seeds_of_one_model_are_told_apart(record):
    rows = comparison([record("fsn", 2.3, seed=0), record("fsn", 2.2, seed=1), record("kuramoto", 2.4)])
    assert [row["model"] for row in rows] == ["fsn, seed 1", "fsn, seed 0", "kuramoto"]


def test_many_settings_share_a_column_that_names_the_unusual(record):
    """A record older than a key counts as one with its default; a dropped or renamed key keeps what it says."""

    def run(bits, tuned=None, **changes):
        model = {"name": "fsn", "width": 96, "n_heads": 1, "tuned": tuned} | changes
        return record("fsn", bits, config={"model": model, "data": {"context": 256}})

    records = [
        run(2.5, tuned={"1m": {"lr": 0.1}}),
        run(2.4, kernel="shared", embedding="uniform"),
        run(2.3, width=64, kernel="copying", lag=1.0),
        run(2.2, embedding="graded", n_heads=2),
        record("transformer", 2.1),
    ]
    assert [(row["model"], row["settings"]) for row in comparison(records)] == [
        ("transformer", ""),
        ("fsn", "model.n_heads=2 model.grading=1"),
        ("fsn", "model.width=64 model.kernel=copying model.lag=1"),
        ("fsn", ""),
        ("fsn", ""),
    ]
    usual = {
        "model.width": "96",
        "model.n_heads": "1",
        "model.kernel": "shared",
        "model.grading": "0",
        "model.lag": "0",
    }
    assert usual_settings(records) == {"fsn": usual, "transformer": {}}


def test_of_equally_common_settings_the_default_is_usual_whatever_the_order(record):
    def run(harmonics):
        model = {"name": "fsn", "harmonics": harmonics}
        return record("fsn", 2.0, config={"model": model, "data": {"context": 256}})

    assert usual_settings([run(1), run(2)]) == usual_settings([run(2), run(1)]) == {"fsn": {"model.harmonics": "1"}}


def test_what_cannot_change_a_result_is_no_setting(record):
    """Bars, folders and loggers differ between machines; they must not keep seeds of one model apart."""
    config = record("fsn", 2.0).config | {"trainer": {"progress": False}, "logger": {"name": "wandb"}}
    assert usual_settings([record("fsn", 2.0), record("fsn", 2.1, config=config)]) == {"fsn": {}}


BPE = {"name": "bpe.json", "sha256": "cd" * 32, "vocabulary_size": 8192}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"final": None, "status": "interrupted"}, "the run of fsn is not done: its status is interrupted"),
        ({"data": DataInfo("stdlib", "cd" * 32, {"train": 90_000, "validation": 5000, "test": 5000}, {})}, "data is"),
        ({"config": {"model": {"name": "fsn"}, "data": {"context": 128}}}, "data.context is 256 in one and 128"),
        (
            {"data": DataInfo("stdlib", "ab" * 32, {"train": 90_000, "validation": 5000, "test": 5000}, {}, {}, BPE)},
            r"data.tokenizer is bytes in one and bpe.json \(cdcdcdcd\) in another",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(record, changes, says):
    with pytest.raises(UserError, match=says):
        comparison([record("transformer", 2.5), record("fsn", 2.4, **changes)])


def test_other_bytes_of_the_final_validation_are_refused(record):
    other = record("fsn", 2.4)
    other = replace(other, final=other.final | {"bytes": 100})
    with pytest.raises(UserError, match="final validation bytes is 5000 in one and 100"):
        comparison([record("transformer", 2.5), other])


def test_markdown_is_aligned():
    table = markdown([{"model": "fsn", "loss": "2.1"}, {"model": "transformer", "loss": "12.25"}])
    assert table.splitlines() == [
        "| model       |  loss |",
        "|-------------|------:|",
        "| fsn         |   2.1 |",
        "| transformer | 12.25 |",
    ]


def test_a_bar_in_a_cell_does_not_end_it():
    assert markdown([{"model": "|a|"}]).splitlines()[-1] == r"| \|a\| |"
