import json

import pytest

from configs.errors import UserError
from training.run_record.record import (
    DataInfo,
    Device,
    Git,
    RunRecord,
    Throughput,
    load_record,
    save_record,
    without_absolute_paths,
)


@pytest.fixture
def record():
    return RunRecord(
        config={
            "seed": 3,
            "model": {"name": "fsn", "width": None},
            "scale": {"name": "1m"},
            "data": {"context": 64},
        },
        config_hash="0123456789",
        parameters={"total": 12, "embedding": 12},
        flops_per_token=72,
        data=DataInfo("text", "ab" * 32, {"train": 90, "validation": 5, "test": 5}, {"file": "made.txt"}),
        seed=3,
        device=Device("cpu", "a processor", 2),
        versions={"python": "3.11.0"},
        git=Git("c0ffee", False),
        command="python train.py",
        started="2020-01-01T00:00:00+00:00",
        throughput=Throughput(1234.5, 6.0),
        metrics=[
            {"step": 1, "tokens": 64, "epoch": 0.5, "split": "train", "nats": 2.0, "bits_per_byte": 2.9},
            {"step": 1, "tokens": 64, "epoch": 0.5, "split": "validation", "nats": 0.1 + 0.2, "bits_per_byte": 0.4}
            | {"bytes": 5, "standard_error": 0.1},
        ],
        evaluations=[{"split": "test", "step": 1}],
    )


def test_a_record_comes_back_as_it_was(record, tmp_path):
    save_record(record, tmp_path)
    assert load_record(tmp_path) == load_record(tmp_path / "record.json") == record
    assert load_record(tmp_path).rows("validation")[0]["nats"] == 0.1 + 0.2, "every digit is kept"


def test_a_metric_row_is_one_line(record, tmp_path):
    save_record(record, tmp_path)
    lines = (tmp_path / "record.json").read_text().splitlines()
    assert any(json.loads(line.strip().rstrip(",")) == record.metrics[0] for line in lines if '"step"' in line)


def test_a_number_that_is_not_finite_is_not_written(record, tmp_path):
    save_record(record, tmp_path)
    before = (tmp_path / "record.json").read_bytes()
    record.metrics.append({"step": 2, "split": "train", "nats": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        save_record(record, tmp_path)
    assert (tmp_path / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("config_hash"), "record lacks 'config_hash'"),
        (lambda content: content["data"].pop("sha256"), "record.data lacks 'sha256'"),
        (lambda content: content.update(colour="red"), "unknown key 'colour'"),
        (lambda content: content.update(metrics={}), "record.metrics is a dict"),
        (lambda content: content.update(git="c0ffee"), "record.git is not a mapping"),
        (lambda content: content.update(finished=3), "record.finished is a int"),
        (lambda content: content.update(status="perhaps"), "status 'perhaps' is none of running, done"),
        (lambda content: content["config"].pop("model"), "config lacks 'model.name'"),
        (lambda content: content["config"]["data"].update(context="64"), "config: 'data.context' is '64'"),
        (lambda content: content["data"]["bytes"].pop("validation"), "data.bytes lacks 'validation'"),
        (lambda content: content["parameters"].pop("total"), "parameters lacks 'total'"),
        (lambda content: content.update(status="done"), "status is done and final is missing"),
        (lambda content: content.update(final={"step": 1}), "final is of split None"),
        (lambda content: content.update(final={"step": 1, "split": "validation"}), "final lacks 'tokens'"),
        (lambda content: content["metrics"][0].update(nats=float("nan")), "it holds the number NaN"),
        (lambda content: content["evaluations"][0].update(task="synchrony"), "evaluations lacks 'windows'"),
        (lambda content: content["evaluations"][0].update(task="copy_depth", bytes=5), "evaluations lacks 'context'"),
        (lambda content: content["metrics"][0].pop("bits_per_byte"), "row 0 of metrics lacks 'bits_per_byte'"),
        (lambda content: content["metrics"][1].pop("bytes"), "row 1 of metrics lacks 'bytes'"),
        (lambda content: content["metrics"].append([]), "row 2 of metrics lacks 'step'"),
        (lambda content: content["evaluations"][0].update(step=True), "entry 0 of evaluations: 'step' is True"),
    ],
)
def test_what_is_no_record_says_why(record, tmp_path, change, message):
    save_record(record, tmp_path)
    path = tmp_path / "record.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        load_record(path)
    assert str(path) in str(error.value)


def test_an_absent_or_damaged_record_is_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no run record at"):
        load_record(tmp_path)
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(UserError, match="cannot read the run record"):
        load_record(tmp_path)


def test_absolute_paths_lose_all_but_their_name():
    value = {
        "path": "/somewhere/private/text.xz",
        "relative": "corpora/text.xz",
        "command": ["train.py", "data.path=/somewhere/private/text.xz", "seed=1", "folder=/private/"],
        "odd": [
            "/tmp/x=1/file.txt",
            "data.path='/somewhere/else/my file.txt'",
            "data.path=/a=b/c.xz",
            "prompt=a/b = /c",
        ],
        "number": 3,
        "nothing": None,
    }
    assert without_absolute_paths(value) == {
        "path": "text.xz",
        "relative": "corpora/text.xz",
        "command": ["train.py", "data.path=text.xz", "seed=1", "folder=private"],
        "odd": ["file.txt", "data.path='my file.txt'", "data.path=c.xz", "prompt=a/b = /c"],
        "number": 3,
        "nothing": None,
    }
