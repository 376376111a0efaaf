"""Records side by side from the command line: what differs is shown, means are over seeds, mistakes are one line."""

import json

import pytest

from configs.errors import UserError
from results import compare
from results.tables.comparison import comparison
from training.run_record.record import save_record


def with_rate(made, lr):
    made.config = json.loads(json.dumps(made.config)) | {"optim": {"lr": lr}}
    return made


def test_a_sweep_shows_what_it_went_through(record):
    rows = comparison([with_rate(record("fsn", 2.4), 1e-3), with_rate(record("fsn", 2.3), 6e-3)])
    assert [(row["model"], row["optim.lr"]) for row in rows] == [("fsn", "0.006"), ("fsn", "0.001")]
    # Models may differ in what is theirs: that is no sweep.
    assert (
        "optim.lr" not in comparison([with_rate(record("fsn", 2.4), 1e-3), with_rate(record("kuramoto", 2.3), 6e-3)])[0]
    )


def test_means_over_seeds_and_paired_differences(record):
    runs = [record("transformer", 2.5, seed=0), record("transformer", 2.7, seed=1)]
    runs += [record("fsn", 2.4, seed=0), record("fsn", 2.5, seed=1), record("kuramoto", 3.0)]
    assert compare.seed_means(runs) == [
        {"model": "fsn", "seeds": "2", "bits per byte": "2.4500 ± 0.0707", "minus transformer": "-0.1500 ± 0.0707"},
        {"model": "transformer", "seeds": "2", "bits per byte": "2.6000 ± 0.1414", "minus transformer": ""},
    ]
    assert compare.seed_means([with_rate(record("fsn", 2.4), 1e-3), with_rate(record("fsn", 2.3), 6e-3)]) == []


def test_the_command(record, tmp_path, capsys):
    for seed, bits in enumerate((2.4, 2.5)):
        save_record(record("fsn", bits, seed=seed), tmp_path / f"fsn-{seed}.json")
    compare.main([str(tmp_path), "--figure", str(tmp_path / "curves")])
    shown = capsys.readouterr().out
    assert "fsn, seed 1" in shown and "2.4500 ± 0.0707" in shown
    assert (tmp_path / "curves.png").stat().st_size > 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no record in"):
        compare.main([str(tmp_path / "empty")])
