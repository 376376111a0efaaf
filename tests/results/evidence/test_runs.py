"""Records belong to a table by what their runs were set to do, and nothing else."""

import json
from dataclasses import replace

import pytest

from configs.compose import config_dict
from configs.sweeps import Job, Sweep
from results.evidence.runs import COMMITTED, gather, read_records
from training.run_record.record import DataInfo, dumps
from training.sweeps.swept_run import configured_jobs

COMMON = ("scale=smoke", "data=text", "data.path=a.txt", "trainer.max_steps=6", "logger=none")
SWEEP = Sweep(
    "mine",
    "cpu",
    "Mine",
    [Job((*COMMON, f"model={m}", f"seed={s}")) for s in (0, 1) for m in ("fsn", "osn")],
    ["seed", "model"],
)


@pytest.fixture(scope="module")
def configs():
    return [config_dict(config) for _, config in configured_jobs(SWEEP.jobs)]


@pytest.fixture
def made(record, configs):
    """`made(i, bits, **changes)`: the record of the sweep's run i."""

    def make(i, bits, **changes):
        config = json.loads(json.dumps(configs[i]))
        return record(config["model"]["name"], bits, config["seed"], **({"config": config} | changes))

    return make


def losses(evidence):
    return [run.record.final["bits_per_byte"] if run.record else None for run in evidence.runs]


def test_each_run_finds_its_record(made, tmp_path):
    found = [(tmp_path / str(i), made(i, bits)) for i, bits in ((3, 3.0), (0, 1.0))]
    (evidence,) = gather(SWEEP, found)
    assert losses(evidence) == [1.0, None, None, 3.0]
    assert [run.label for run in evidence.runs] == [f"seed={s} model={m}" for s in (0, 1) for m in ("fsn", "osn")]
    assert evidence.corpus == "stdlib"  # as the record has it


def test_where_it_ran_does_not_matter_but_what_it_did_does(made, tmp_path):
    record = made(0, 1.0)
    record.config["trainer"] |= {"threads": 7, "devices": 2, "progress": False}
    record.config |= {"runs": "elsewhere", "precision": "bf16", "compile": True}
    record.config["data"] |= {"name": "other", "path": "b.txt"}
    assert losses(gather(SWEEP, [(tmp_path, record)])[0])[0] == 1.0
    for part, key, value in (
        ("trainer", "max_steps", 7),
        ("optim", "lr", 0.1),
        ("model", "width", 8),
        ("data", "context", 128),
        ("data", "split", [0.8, 0.1, 0.1]),
        ("trainer", "last_val_bytes", 100),
    ):
        other = made(0, 1.0)
        other.config[part][key] = value
        assert losses(gather(SWEEP, [(tmp_path, other)])[0]) == [None] * 4, key


def test_epochs_beside_steps_make_no_other_run_unless_they_ended_it(made, tmp_path):
    """Today steps rule; in older code the epochs could end a run before."""
    record = made(0, 1.0)
    record.config["trainer"]["max_epochs"] = 1
    steps = record.config["trainer"]["max_steps"]
    for step, expected in ((steps, 1.0), (steps - 1, None)):
        record.final["step"] = step
        run = gather(SWEEP, [(tmp_path, record)])[0].runs[0]
        assert (run.record and run.record.final["bits_per_byte"], run.other) == (expected, None)


def test_a_record_from_before_a_key_counts_with_what_it_ran_with(made, tmp_path):
    record = made(0, 1.0)
    del record.config["model"]["null"]  # its default is what was before it
    assert losses(gather(SWEEP, [(tmp_path, record)])[0])[0] == 1.0
    del record.config["model"]["grading"]  # before it, another than today's default
    assert losses(gather(SWEEP, [(tmp_path, record)])[0])[0] is None


def test_the_newest_finished_record_is_taken(made, tmp_path):
    old, new = (made(0, bits, finished=f"2026-01-0{day}T00:00:00+00:00") for day, bits in ((1, 1.0), (2, 2.0)))
    broken = made(0, 9.0, status="interrupted", finished="2026-01-03T00:00:00+00:00")
    found = [(tmp_path, each) for each in (new, old, broken)]
    assert losses(gather(SWEEP, found)[0])[0] == 2.0
    assert losses(gather(SWEEP, found, rank=lambda record: record is old)[0])[0] == 1.0
    assert losses(gather(SWEEP, found[2:])[0]) == [None] * 4


def test_a_corpus_is_a_section_of_its_own(made, tmp_path):
    first = made(0, 1.0)
    info = DataInfo("enwik8", "cd" * 32, dict(first.data.bytes), {})
    found = [(tmp_path, first), (tmp_path, made(0, 2.0, data=info)), (tmp_path, made(1, 3.0, data=info))]
    assert [(e.corpus, losses(e)) for e in gather(SWEEP, found)] == [
        ("enwik8", [2.0, 3.0, None, None]),
        ("stdlib", [1.0, None, None, None]),
    ]
    assert [e.corpus for e in gather(SWEEP, found, corpus=lambda data: "cd" * 32)] == ["enwik8"]
    assert [(e.corpus, losses(e)) for e in gather(SWEEP, [])] == [("text", [None] * 4)]


def test_two_corpora_of_one_name_are_told_apart_and_one_of_two_names_is_one(made, tmp_path):
    def of(i, bits, name, sha256):
        return tmp_path, made(
            i, bits, data=DataInfo(name, sha256, {"train": 90_000, "validation": 5000, "test": 5}, {})
        )

    one, other = "ab" * 32, "cd" * 32
    same_name = [of(0, 1.0, "text", one), of(0, 2.0, "text", other), of(1, 3.0, "text", other)]
    assert [(e.corpus, losses(e)) for e in gather(SWEEP, same_name)] == [
        ("text (abababab)", [1.0, None, None, None]),
        ("text (cdcdcdcd)", [2.0, 3.0, None, None]),
    ]
    assert gather(SWEEP, same_name)[0].stem == "mine-cpu-text-abababab"
    same_text = [of(0, 1.0, "mine", one), of(1, 2.0, "theirs", one), of(2, 3.0, "theirs", one)]
    assert [(e.corpus, losses(e)) for e in gather(SWEEP, same_text)] == [("theirs", [1.0, 2.0, 3.0, None])]


def test_runs_on_the_corpus_of_another_sweep_are_not_shown_unless_it_is_typed(made, tmp_path):
    def on(i, source, sha256):
        record = made(i, 1.0, data=DataInfo(source, sha256, {"train": 90_000, "validation": 5000, "test": 5000}, {}))
        record.config["data"] |= {"name": source, "source": source}
        return tmp_path, record

    found = [on(0, "enwik8", "ab" * 32), on(1, "text", "cd" * 32)]
    assert [(e.corpus, losses(e)) for e in gather(SWEEP, found)] == [("text (cdcdcdcd)", [None, 1.0, None, None])]
    assert [e.corpus for e in gather(SWEEP, [on(1, "text27", "cd" * 32)])] == ["text27 (cdcdcdcd)"]
    code = replace(SWEEP, jobs=[Job((*job.overrides, "data=stdlib", "data.path=null")) for job in SWEEP.jobs])
    code_found = [*found, on(2, "stdlib", "ef" * 32)]
    assert [e.corpus for e in gather(code, code_found)] == ["stdlib", "text (cdcdcdcd)"]
    assert [e.corpus for e in gather(replace(code, own_corpus=True), code_found)] == ["stdlib"]
    assert [e.corpus for e in gather(code, code_found, corpus=lambda data: "ab" * 32)] == ["enwik8"]


def test_a_precision_that_is_asked_for_is_another_run_and_one_that_is_not_is_none(made, tmp_path):
    asked = replace(SWEEP, jobs=[Job((*job.overrides, "precision=bf16")) for job in SWEEP.jobs])
    single, half = made(0, 1.0, finished="2026-01-02T00:00:00+00:00"), made(0, 2.0)
    half.config["precision"] = "bf16"
    found = [(tmp_path, single), (tmp_path, half)]
    assert losses(gather(asked, found)[0])[0] == 2.0
    assert losses(gather(asked, found[:1])[0]) == [None] * 4
    assert losses(gather(SWEEP, found)[0])[0] == 1.0  # the newest
    both = replace(SWEEP, axes=["precision", *SWEEP.axes], kind="finals")
    both.jobs = [Job((*job.overrides, f"precision={p}")) for p in ("32", "bf16") for job in SWEEP.jobs]
    assert [(e.setting, losses(e)[0]) for e in gather(both, found)] == [("precision=32", 1.0), ("precision=bf16", 2.0)]


def test_a_path_is_named_by_its_last_part(made):
    jobs = [Job(("data=text", f"data.path='{path}'", "model=fsn", "seed=0")) for path in ("folder/a b.txt", "c.txt")]
    parts = gather(replace(SWEEP, jobs=jobs, axes=["data.path", "model", "seed"]), [])
    assert [e.setting for e in parts] == ["data.path=a b.txt", "data.path=c.txt"]


def test_a_run_that_was_set_aside_does_not_count(made, tmp_path):
    for name in ("x", "x-old-1", "x-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(dumps(made(0, 1.0)))
    assert [path.parent.name for path, _ in read_records([tmp_path])[0]] == ["x", "x-old"]


def test_each_value_of_an_axis_without_a_place_in_the_table_is_a_section(made, tmp_path):
    jobs = [Job((*job.overrides, f"optim.lr={lr}")) for lr in (0.006, 0.01) for job in SWEEP.jobs]
    twice = replace(SWEEP, jobs=jobs, axes=["optim.lr", *SWEEP.axes], kind="finals")
    records = []
    for lr, bits in ((0.006, 1.0), (0.01, 2.0)):
        record = made(0, bits)
        record.config["optim"]["lr"] = lr
        records.append((tmp_path, record))
    parts = gather(twice, records)
    assert [(e.setting, losses(e)) for e in parts] == [
        ("optim.lr=0.006", [1.0, None, None, None]),
        ("optim.lr=0.01", [2.0, None, None, None]),
    ]
    assert len({e.stem for e in parts}) == 2
    assert len(gather(replace(twice, kind="rates"), records)) == 1  # it has a line for each rate
    rows = replace(SWEEP, kind="finals", jobs=[replace(job, row="mine") for job in SWEEP.jobs])
    assert [e.setting for e in gather(rows, [])] == ["model=fsn", "model=osn"]  # one place a row


def test_a_run_that_failed_says_why(made, tmp_path):
    failed = made(0, 1.0, status="failed", error="loss is not finite at step 3", final=None)
    stopped = made(1, 1.0, status="interrupted", final=None)
    (evidence,) = gather(SWEEP, [(tmp_path, failed), (tmp_path, stopped)])
    assert losses(evidence) == [None] * 4
    assert evidence.shortfall() == [
        "2 of 4 runs are missing: seed=1 model=fsn, seed=1 model=osn.",
        "2 of 4 runs did not end: seed=0 model=fsn (loss is not finite at step 3), "
        "seed=0 model=osn (interrupted at step 30).",
    ]
    assert losses(gather(SWEEP, [(tmp_path, failed), (tmp_path, made(0, 2.0))])[0])[0] == 2.0


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        ("data", "tokenizer", "bpe", "data.tokenizer bpe instead of bytes"),
        ("data", "context", 128, "data.context 128 instead of 256"),
        ("data", "split", [0.8, 0.1, 0.1], "data.split [0.8, 0.1, 0.1] instead of [0.9, 0.05, 0.05]"),
        ("trainer", "last_val_bytes", 100, "trainer.last_val_bytes 100 instead of None"),
    ],
)
def test_a_record_of_another_protocol_is_left_out_and_named_with_what_differs(made, tmp_path, part, key, value, told):
    records = [made(i, float(i + 1)) for i in range(4)]
    records[2].config[part][key] = value
    places = [(tmp_path / f"run-{i}" / "record.json", record) for i, record in enumerate(records)]
    (evidence,) = gather(SWEEP, places)
    assert losses(evidence) == [1.0, 2.0, None, 4.0]
    assert evidence.shortfall() == [
        "1 of 4 runs is missing: seed=1 model=fsn.",
        "Of these 1 is recorded in another protocol, and is left out here: "
        f"seed=1 model=fsn ({told}: run-2/record.json).",
    ]
    records[2].config["optim"]["lr"] = 0.5  # another run altogether
    assert len(gather(SWEEP, places)[0].shortfall()) == 1


def test_a_damaged_record_is_named_and_left_out(made, tmp_path):
    for name, record in (("a", made(0, 1.0)), ("b", made(1, 1.0))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(dumps(record))
    (tmp_path / "b" / "record.json").write_text(dumps(replace(made(1, 1.0), status="finished")))
    found, damaged = read_records([tmp_path])
    assert [path.parent.name for path, _ in found] == ["a"]
    assert len(damaged) == 1 and "b/record.json is not a run record: status is 'finished'" in damaged[0]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("data", "source", ["text"]),
        ("optim", "lr", "0.006"),
        ("model", "embedding", ["graded"]),
        ("model", "embedding", "another"),
        ("model", "name", "half a character: \ud800"),
    ],
)
def test_a_config_that_is_of_no_run_is_left_out_too(part, key, value, made, tmp_path):
    record = made(0, 1.0)
    record.config[part][key] = value
    (tmp_path / "record.json").write_text(json.dumps(json.loads(dumps(record))))
    found, damaged = read_records([tmp_path])
    assert found == [] and len(damaged) == 1 and str(tmp_path) in damaged[0]


def test_committed_records_are_whole():
    found, damaged = read_records([COMMITTED])
    assert len(found) > 100 and damaged == []
