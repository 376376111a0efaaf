"""Records belong to a table by what their runs were set to do, and nothing else."""

import json
from dataclasses import replace

import pytest

from configs.compose import config_dict
from configs.sweeps import Job, Sweep
from results.evidence import COMMITTED, gather, read_records
from training.record import DataInfo, dumps
from training.sweep import configured

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
    return [config_dict(config) for _, config in configured(SWEEP.jobs)]


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
    assert [e.corpus for e in gather(SWEEP, found, sha256="cd" * 32)] == ["enwik8"]
    assert [(e.corpus, losses(e)) for e in gather(SWEEP, [])] == [("text", [None] * 4)]


def test_a_damaged_record_is_named_and_left_out(made, tmp_path):
    for name, record in (("a", made(0, 1.0)), ("b", made(1, 1.0))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(dumps(record))
    (tmp_path / "b" / "record.json").write_text(dumps(replace(made(1, 1.0), status="finished")))
    found, damaged = read_records([tmp_path])
    assert [path.parent.name for path, _ in found] == ["a"]
    assert len(damaged) == 1 and "b/record.json is not a run record: status 'finished'" in damaged[0]


def test_committed_records_are_whole():
    found, damaged = read_records([COMMITTED])
    assert len(found) > 100 and damaged == []
