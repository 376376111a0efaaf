"""The table and the figure of recall, from records as runs leave them."""

import json
import xml.etree.ElementTree as ET

import pytest

from configs.compose import config_dict
from configs.errors import UserError
from configs.sweeps import Job, Sweep
from data.strings import Strings
from results.compare import main as compare
from results.document import Document
from results.figures.recall import plot_recall
from results.report import Section, SourceTree, render
from results.tables.kinds import add_tables, gather_for
from results.tables.recall import Kind, panels
from training.run_record.record import DataInfo, save_record
from training.sweeps.swept_run import configured_jobs

KINDS = ("repeat64", "mqar")
SETTINGS = ("task=recall", "scale=smoke", "trainer.max_steps=30", "data.context=64", "data.lengths=[64,128]")


def sweep(seeds=(0, 1), kinds=KINDS, models=("transformer", "fsn")):
    axes = ["seed", "data", "model"]
    jobs = [
        Job((*SETTINGS, f"seed={seed}", f"data={kind}", f"model={model}"))
        for seed in seeds
        for kind in kinds
        for model in models
    ]
    return Sweep("recall", "cpu", "Recall", jobs, axes, kind="recall")


@pytest.fixture
def recorded(record, tmp_path):
    """`recorded(sweep, accuracies)`: records with these accuracies at steps 10, 20, 30; None: not run."""

    def make(of, accuracies):
        files = []
        for (_, config), values in zip(configured_jobs(of.jobs), accuracies, strict=True):
            if values is None:
                continue
            strings = Strings(config.data)
            rows = [
                {"step": step, "tokens": 512 * step, "split": "validation", "nats": 2 - accuracy, "accuracy": accuracy}
                | {"context": 64, "strings": 256, "targets": 256 * strings.scored(64)}
                for step, accuracy in zip((10, 20, 30), values, strict=True)
            ]
            at = {key: rows[-1][key] for key in ("context", "strings", "targets", "nats", "accuracy")}
            rows[-1]["lengths"] = [at, at | {"context": 128, "accuracy": values[-1] / 2}]
            info = DataInfo(config.data.name, strings.sha256, {"validation": 0}, strings.source)
            plain = json.loads(json.dumps(config_dict(config)))
            made = record(config.model.name, 2.0, config.seed, config=plain, data=info, metrics=rows, final=rows[-1])
            files.append((tmp_path, made))
        return files

    return make


def test_a_line_a_model_and_a_column_a_kind(recorded, tmp_path):
    accuracies = [
        *([0.1, 0.2, 0.3], [0.5, 0.95, 1.0], [0.0, 0.0, 0.01], [0.2, 0.91, 0.92]),
        *([0.1, 0.2, 0.3], [0.95, 0.8, 0.9], None, [0.2, 0.3, 0.4]),
    ]
    of = sweep()
    (evidence,) = gather_for(of, recorded(of, accuracies))
    document = Document("recall", "Recall")
    add_tables(evidence, document, tmp_path, evidence.stem)
    accuracy, nats, until, longer = document.tables
    assert accuracy.rows == [
        {"model": "transformer", "repeat64": "0.300 ± 0.000", "mqar": "0.010 (1 of 2 seeds)"},
        {"model": "fsn", "repeat64": "0.950 ± 0.635", "mqar": "0.660 ± 3.304"},
    ]
    assert "accuracy at the scored symbols after 30 steps, 0 to 1, mean ± 95 % interval over seeds" in accuracy.title
    assert [row["repeat64"] for row in nats.rows] == ["1.700 ± 0.000", "1.050 ± 0.635"]
    assert "nats per scored symbol" in nats.title and "byte" not in document.markdown()
    assert [list(row.values())[1:] for row in until.rows] == [
        ["not reached", "not reached (1 of 2 seeds)"],
        ["15 ± 64", "20 (1 of 2 seeds)"],
    ]
    assert longer.rows[1] == {"model": "fsn", "repeat64, 128": "0.475 ± 0.318", "mqar, 128": "0.330 ± 1.652"}
    assert "1 of 8 runs is missing: seed=1 data=mqar model=transformer." in accuracy.notes
    assert (
        "mqar: 256 different symbols, multi-query associative recall (zoology); scored are 8 queries of 64 symbols."
        in (accuracy.notes)
    )
    assert not any("different content" in note for note in accuracy.notes), "kinds differ, that is no fault"
    assert len(accuracy.data) == 7 and accuracy.data[1]["steps_until_0.9"] == 20
    assert accuracy.data[0]["accuracy_128"] == 0.15 and accuracy.data[0]["corpus"] == "repeat64"
    assert (tmp_path / "recall-cpu-strings.png").exists()


def test_nothing_run(tmp_path):
    (evidence,) = gather_for(sweep(), [])
    document = Document("recall", "Recall")
    add_tables(evidence, document, tmp_path, "mine")
    assert all(
        set(row.values()) <= {"transformer", "fsn", "not run"} for table in document.tables for row in table.rows
    )
    assert not document.figures


def test_strings_of_another_kind_or_made_otherwise_do_not_count(recorded, monkeypatch):
    of = sweep(seeds=(0,))
    files = recorded(of, [[0.1, 0.2, 0.3]] * 4)
    (evidence,) = gather_for(of, files)
    assert len(evidence.records) == 4
    files[0][1].data.sha256 = "0" * 64
    files[1][1].config["data"]["alphabet"] = 32
    (evidence,) = gather_for(of, files)
    assert [run.label for run in evidence.runs if run.record is None] == [
        f"seed=0 data=repeat64 model={model}" for model in ("transformer", "fsn")
    ]
    (alone,) = gather_for(sweep(seeds=(0,), kinds=("mqar",)), files)
    assert alone.corpus == "mqar" and alone.stem == "recall-cpu-mqar" and len(alone.records) == 2


def test_each_other_axis_is_a_part_of_its_own():
    of = sweep(seeds=(0,))
    of.jobs = [Job((*job.overrides, f"optim.lr={rate}")) for rate in (0.1, 0.2) for job in of.jobs]
    of.axes.append("optim.lr")
    assert [part.setting for part in gather_for(of, [])] == ["optim.lr=0.1", "optim.lr=0.2"]


def test_the_figure_holds_every_kind_and_model(recorded, tmp_path):
    of = sweep()
    (evidence,) = gather_for(of, recorded(of, [[0.1, 0.2, 0.3]] * 4 + [[0.3, 0.4, 0.5]] * 4))
    kinds = {}
    for run in evidence.runs:
        kinds.setdefault(run.config.data.name, Kind(run.config.data)).runs.append(run)
    repeat, mqar = panels(kinds, ["transformer", "fsn", "osn"])
    assert [(place, round(mean, 9)) for place, mean, *_ in repeat.by_step["fsn"]] == [(10, 0.2), (20, 0.3), (30, 0.4)]
    assert repeat.by_step["fsn"][0][2:] == (0.1, 0.3) and repeat.by_step["osn"] == []
    assert [place for place, *_ in mqar.by_length["fsn"]] == [64, 128] and mqar.trained == 64
    assert (repeat.guess, mqar.guess) == (1 / 64, 1 / 128)
    text = " ".join(ET.parse(plot_recall([repeat, mqar], tmp_path / "a", "a title")[1]).getroot().itertext())
    for words in (
        "repeat64",
        "mqar",
        "training steps",
        "accuracy at scored symbols",
        "transformer",
        "fsn",
        "a guess",
        "a title",
    ):
        assert words in text
    assert "osn" not in text


def test_the_report_tells_of_such_runs_without_bytes(recorded, tmp_path):
    of = sweep(seeds=(0,))
    (evidence,) = gather_for(of, recorded(of, [[0.1, 0.2, 0.3]] * 4))
    document = Document("recall", "Recall", runs=evidence.runs)
    section = Section("table-recall", document, runs=dict(enumerate(evidence.records, 1)))
    page = render([section], SourceTree(None, "", None))
    assert "accuracy 0.3000, 1.7000 nats per scored symbol after 15,360 tokens" in page
    assert "synthetic strings, 256 symbols" in page and "0 bytes" not in page


def test_comparing_them_in_bits_per_byte_is_refused(recorded, tmp_path):
    of = sweep(seeds=(0,), kinds=("mqar",), models=("fsn",))
    ((_, one),) = recorded(of, [[0.1, 0.2, 0.3]])
    save_record(one, tmp_path / "one.json")
    with pytest.raises(
        UserError, match="1 run with task=recall, which has accuracies and no bits per byte: type make t"
    ):
        compare([str(tmp_path / "one.json")])
