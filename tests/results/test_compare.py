"""Records side by side from the command line: what differs is shown, means are over seeds, mistakes are one line."""

import json
from dataclasses import replace

import pytest
from scipy.stats import ttest_ind

from configs.errors import UserError
from results import compare
from results.evidence.settings import shown_value
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


def test_means_and_differences_have_intervals_over_seeds(record):
    runs = [record("transformer", 2.5, seed=0), record("transformer", 2.7, seed=1)]
    runs += [record("fsn", 2.4, seed=0), record("fsn", 2.5, seed=5), record("kuramoto", 3.0)]
    # Of two seeds t(1) = 12.706: an honest interval is wide. The difference is Welch's, of all seeds of both.
    welch = ttest_ind([2.4, 2.5], [2.5, 2.7], equal_var=False).confidence_interval(0.95)
    assert compare.seed_means(compare.runs_by_model(runs)) == [
        {
            "model": "fsn",
            "seeds": "2",
            "bits per byte": "2.4500 ± 0.6353",
            "minus transformer": f"-0.1500 ± {(welch.high - welch.low) / 2:.4f} not significant",
        },
        {"model": "transformer", "seeds": "2", "bits per byte": "2.6000 ± 1.2706", "minus transformer": ""},
    ]


def test_a_model_whose_runs_do_not_differ_has_no_usual_settings(record, capsys):
    def run(bits, **model):
        return record("fsn", bits, config={"model": {"name": "fsn", **model}, "data": {"context": 256}})

    changed = run(2.3, width=64, n_heads=2, harmonics=3, lag=1.0, kernel="copying")
    compare.compare([run(2.4), changed, record("transformer", 2.1)])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("Usual")] == [
        "Usual for fsn"
    ]


def test_runs_on_synthetic_strings_are_left_out_with_a_line(record, tmp_path, capsys):
    text, strings = record("fsn", 2.4), record("osn", 0.1)
    strings.config = strings.config | {"task": "recall"}
    for name, one in (("a", strings), ("b", text)):
        save_record(one, tmp_path / f"{name}.json")
    assert compare.main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "| fsn " in said.out and "osn" not in said.out
    assert said.err.startswith("left out: 1 run with task=recall, which has accuracies and no bits per byte")


def test_two_corpora_are_told_by_name(record):
    ours, theirs = record("fsn", 2.4), record("fsn", 2.5, seed=1)
    theirs.data = replace(theirs.data, name="another")
    assert len(comparison([ours, theirs])) == 2, "one content under two names is one corpus"
    theirs.data = replace(theirs.data, sha256="f" * 64)
    with pytest.raises(UserError, match=r"data is \w+ \(SHA-256 .{12}\) in one and another \(SHA-256 f{12}\) in a"):
        comparison([ours, theirs])


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "null"), (True, "true"), (False, "false"), (0.006, "0.006"), ([1, 2], "[1, 2]")]
)
def test_values_are_shown_as_they_are_typed(value, shown):
    assert shown_value(value) == shown


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (({"max_steps": 30}, {"max_steps": 60}), "runs of one model differ in trainer.max_steps"),
        (({}, {}), "fsn seed 0"),
    ],
)
def test_that_there_are_no_means_is_said(record, capsys, keys, said):
    runs = [record("transformer", 2.6), *(record("fsn", 2.4) for _ in keys)]
    for made, trainer in zip(runs[1:], keys, strict=True):
        made.config = json.loads(json.dumps(made.config)) | {"trainer": trainer}
    assert compare.runs_by_model(runs) == {}
    compare.compare(runs)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("No means over seeds"))
    assert said in line


def test_the_command(record, tmp_path, capsys):
    for seed, bits in enumerate((2.4, 2.5)):
        for model in ("fsn", "transformer"):
            save_record(record(model, bits, seed=seed), tmp_path / f"{model}-{seed}.json")
    compare.main([str(tmp_path), "--figure", str(tmp_path / "curves")])
    shown = capsys.readouterr().out
    assert "fsn, seed 1" in shown and "2.4500 ± 0.6353" in shown
    assert "± of a run: 95 % interval over text" in shown and "± of a mean: 95 % interval over seeds" in shown
    assert (
        "Cost beside loss" in shown
        and "No means" not in shown
        and "curves.svg: lines: the first 5,000 validation bytes" in shown
    )
    assert (tmp_path / "curves.png").stat().st_size > 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no record in"):
        compare.main([str(tmp_path / "empty")])


def test_a_damaged_record_of_a_folder_is_left_out_with_a_line_and_exit_code_1(record, tmp_path, capsys):
    save_record(record("fsn", 2.4), tmp_path / "a.json")
    assert compare.main([str(tmp_path)]) == 0
    damaged = tmp_path / "\x1b[31mb.json"
    damaged.write_text("[" * 100_000)
    capsys.readouterr()
    assert compare.main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "| fsn " in said.out and said.err.startswith("left out, because it cannot be read: cannot read the run")
    assert "\x1b" not in said.err and said.err.count("\n") == 1
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "c.json").write_text("[]")
    for asked in ([tmp_path / "a.json", damaged], [tmp_path / "only"]):
        with pytest.raises(UserError, match=r"(cannot read the|is not a) run record"):
            compare.main(list(map(str, asked)))


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_of_a_folder_that_is_not_finished_is_left_out_and_one_that_is_named_is_refused(
    record, tmp_path, capsys, status
):
    save_record(record("fsn", 2.4), tmp_path / "a.json")
    unfinished = record("transformer", 2.3)
    unfinished.status, unfinished.final = status, None
    save_record(unfinished, tmp_path / "b.json")
    assert compare.main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "| fsn " in said.out and "transformer" not in said.out
    assert said.err == f"left out, because it is not finished: {tmp_path / 'b.json'} ({status})\n"
    again = [tmp_path / name for name in ("b.json", "a.json", "b.json")]
    assert len(compare.read_all(again)[0]) == 1
    with pytest.raises(UserError, match=rf"b.json is not finished \({status}\): python -m results.status shows"):
        compare.main([str(tmp_path / "a.json"), str(tmp_path / "b.json")])


def test_a_run_that_epochs_ended_is_in_no_mean_with_whole_ones(record):
    runs = [record("fsn", 2.4, seed=seed) for seed in range(2)]
    for run in runs:
        run.config["trainer"] = {"max_steps": run.final["step"], "max_epochs": 1}
    assert compare.without_means(runs) is None
    runs[1].config["trainer"]["max_steps"] += 1
    runs[0].config["trainer"]["max_steps"] += 1
    runs[0].final["step"] += 1
    said = compare.without_means(runs)
    assert said == f"trainer.max_epochs ended fsn, seed 1, step {runs[1].final['step']:,} before trainer.max_steps"
