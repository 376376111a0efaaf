import json
from pathlib import Path

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

WHERE = {"split": "test", "checkpoint": "last.ckpt", "step": 1}
LOSS = WHERE | {"context": 64, "nats": 2.0, "bits_per_byte": 2.9, "standard_error": 0.1, "bytes": 5, "windows": 1}
KERNEL = {"layer": 0, "mixer": "local", "coupled_to": "1 back", "kernel_real": [[0.5]], "kernel_imag": [[0.25]]}
NO_HEADS = {"order_parameter": [[]], "null": [[]], "gate": [[]]}
OF_TOKENS = {"targets": 3, "blocks": 1, "standard_error": None, "stride": None}


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
            {"step": 1, "tokens": 64, "epoch": 0.5, "split": "train", "nats": 2.0, "bits_per_byte": 2.9}
            | {"lr": 0.003, "grad_norm": 1.5, "tokens_per_second": 900.0},
            {"step": 1, "tokens": 64, "epoch": 0.5, "split": "validation", "nats": 0.1 + 0.2, "bits_per_byte": 0.4}
            | {"bytes": 5, "standard_error": 0.1, "synchrony": {"null": [[0.5]]}},
        ],
        evaluations=[
            LOSS,
            WHERE
            | {"task": "copy_depth", "context": 64, "bytes": 5, "depths": ["0", "1+"], "distances": ["1+"]}
            | {"counts": [[3, 2]], "nats": [[4.5, 2.0]]}
            | {"by_distance": {"depths": ["1+"], "counts": [[[2]]], "nats": [[[2.0]]]}},
            WHERE
            | {"task": "coupling", "windows": 1, "kernel_real": [[[[0.5]]]], "kernel_imag": [[[[0.25]]]]}
            | {"order_parameter": [[0.5]], "null": [[0.5]], "gate": [[1.0]]},
            WHERE
            | {"task": "synchrony", "ssa": "chunked", "windows": 1, "context": 64}
            | {"heads": [{"diversity": 0.5, "entropy": [0.5], "active": [1.0]}]},
            WHERE | {"task": "coupling", "windows": 1, "kernels": [KERNEL]} | NO_HEADS,
            WHERE
            | {"task": "synchrony", "windows": 1, "context": 64}
            | {"heads": [{"diversity": None, "entropy": [], "active": []}]},
        ],
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


def test_a_record_of_tokens_comes_back_as_it_was(record, tmp_path):
    record.data.tokens = {"train": 40, "validation": 3, "test": 3}
    record.data.tokenizer = {"name": "pairs", "sha256": "cd" * 32, "vocabulary_size": 300}
    record.parameters["without_tables"] = 8
    record.metrics[1] |= OF_TOKENS
    record.evaluations[0] |= OF_TOKENS | {"task": "loss", "stride": 32}
    save_record(record, tmp_path)
    assert load_record(tmp_path) == record


def test_a_committed_record_is_written_as_it_is_there(tmp_path):
    paths = sorted((Path(__file__).parents[3] / "results" / "records").glob("*/*.json"))
    oldest_and_newest = [path for path in paths if path.parent.name != "bench"][::7]
    assert len(oldest_and_newest) > 30
    for path in oldest_and_newest:
        save_record(load_record(path), tmp_path)
        assert (tmp_path / "record.json").read_bytes() == path.read_bytes(), path


def test_keys_that_a_file_lacks_are_written_once_they_say_something(record, tmp_path):
    save_record(record, tmp_path)
    path = tmp_path / "record.json"
    content = json.loads(path.read_text())
    del content["evaluations"], content["earlier"], content["data"]["tokens"], content["data"]["tokenizer"]
    path.write_text(json.dumps(content))
    old = load_record(path)
    assert old.data.tokens == {} and old.data.tokenizer == {"name": "bytes", "sha256": None, "vocabulary_size": 256}
    old.evaluations.append(LOSS)
    save_record(old, path)
    assert json.loads(path.read_text()) == content | {"evaluations": [LOSS]}


def numbers(content, place=()):
    """The place of every number and every truth value in plain JSON."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from numbers(value, (*place, key))
    elif isinstance(content, bool | int | float):
        yield place


@pytest.mark.parametrize("wrong", [str, lambda number: 1 if isinstance(number, bool) else True])
def test_every_number_of_a_record_is_read_strictly(record, tmp_path, wrong):
    record.metrics[1] |= OF_TOKENS | {"stride": 32}
    record.earlier = [record.made_with() | {"command": "python train.py"}]
    save_record(record, tmp_path)
    text = (tmp_path / "record.json").read_text()
    places = [place for place in numbers(json.loads(text)) if place != ("config", "seed")]
    assert len(places) > 60
    for place in places:
        *parents, last = place
        part = content = json.loads(text)
        for key in parents:
            part = part[key]
        part[last] = wrong(part[last])
        (tmp_path / "record.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="it should be a valid"):
            load_record(tmp_path)


FAULTS = [
    (lambda content: content.pop("config_hash"), "it lacks 'config_hash'"),
    (lambda content: content["data"].pop("sha256"), "data lacks 'sha256'"),
    (lambda content: content.update(colour="red"), "colour is an unknown key"),
    (lambda content: content["data"].update(colour="red"), "data.colour is an unknown key"),
    (lambda content: content["data"]["tokenizer"].update(a=1), "data.tokenizer.a is an unknown key"),
    (lambda content: content["git"].update(colour="red"), "git.colour is an unknown key"),
    (lambda content: content["metrics"][0].update(colour="red"), r"metrics\[0\].colour is an unknown key"),
    (lambda content: content["metrics"][1].update(colour="red"), r"metrics\[1\].colour is an unknown key"),
    (lambda content: content["evaluations"][0].update(a=1), r"evaluations\[0\].a is an unknown key"),
    (lambda content: content["evaluations"][1].update(a=1), r"evaluations\[1\].a is an unknown key"),
    (lambda content: content["evaluations"][1]["by_distance"].update(a=1), r"\[1\].by_distance.a is an unknown key"),
    (lambda content: content["evaluations"][2].update(a=1), r"evaluations\[2\].a is an unknown key"),
    (lambda content: content["evaluations"][3].update(a=1), r"evaluations\[3\].a is an unknown key"),
    (lambda content: content["evaluations"][3]["heads"][0].update(a=1), r"heads\[0\].a is an unknown key"),
    (lambda content: content["evaluations"][4].update(a=1), r"evaluations\[4\].a is an unknown key"),
    (lambda content: content["evaluations"][4].pop("kernels"), r"evaluations\[4\] lacks 'kernels'"),
    (lambda content: content["evaluations"][4]["kernels"][0].update(a=1), r"kernels\[0\].a is an unknown key"),
    (
        lambda content: content["evaluations"][4]["kernels"][0].update(mixer="heads"),
        r"\[4\].kernels\[0\].mixer is 'heads': it should be 'attention', 'local' or 'copying'",
    ),
    (lambda content: content.update(earlier=[{"device": {}}]), r"earlier\[0\].device lacks 'kind'"),
    (lambda content: content.update(metrics={}), "metrics is {}: it should be a valid list"),
    (lambda content: content.update(git="c0ffee"), "git is 'c0ffee': it should be a mapping"),
    (lambda content: content.update(finished=3), "finished is 3: it should be a valid string"),
    (lambda content: content.update(status="perhaps"), "status is 'perhaps': it should be 'running', 'done', 'failed'"),
    (lambda content: content["config"].pop("model"), "config lacks 'model'"),
    (lambda content: content["config"]["model"].pop("name"), "config.model lacks 'name'"),
    (lambda content: content["config"]["data"].update(context="64"), "config.data.context is '64': it should be a"),
    (lambda content: content["data"]["bytes"].pop("validation"), "data.bytes lacks 'validation'"),
    (lambda content: content["parameters"].pop("total"), "parameters lacks 'total'"),
    (lambda content: content.update(status="done"), "status is done and final is missing"),
    (
        lambda content: content.update(final=content["metrics"][1] | {"split": "train"}),
        "final.split is 'train': it",
    ),
    (lambda content: content.update(final={"split": "validation"}), "final lacks 'step'"),
    (lambda content: content["evaluations"].append({"task": "synchrony"} | WHERE), r"\[6\] lacks 'windows'"),
    (lambda content: content["evaluations"].append({"task": "recal"} | WHERE), r"\[6\]: 'recal' is none of 'loss', "),
    (lambda content: content["evaluations"].append([]), r"evaluations\[6\] is \[\]: it should be a mapping"),
    (lambda content: content["metrics"][0].pop("bits_per_byte"), r"metrics\[0\] lacks 'bits_per_byte'"),
    (lambda content: content["metrics"][0].pop("split"), r"metrics\[0\] lacks 'split'"),
    (
        lambda content: content["metrics"][0].update(split="all"),
        r"metrics\[0\]: 'all' is none of 'train', ",
    ),
    (lambda content: content["metrics"][0].update(step=-1), r"metrics\[0\].step is -1: it should be greater than or"),
    (lambda content: content["metrics"][1].pop("bytes"), r"metrics\[1\] lacks 'bytes'"),
    (lambda content: content["metrics"].append([]), r"metrics\[2\] is \[\]: it should be a mapping"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_what_is_no_record_says_where_and_why_on_one_line(record, tmp_path, change, message):
    save_record(record, tmp_path)
    path = tmp_path / "record.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"is not a run record: .*{message}") as error:
        load_record(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


UNREADABLE = [
    (b"{", "Expecting property name"),
    (b"\xff", "can't decode byte 0xff"),
    (b"[" * 100_000, "recursion"),
    (b'{"data": {"a": 1, "b": 2, "a": 1}}', "the key 'a' is there twice"),
    (b'{"a": NaN}', "the number NaN"),
    (b'{"a": -Infinity}', "the number -Infinity"),
    (b'{"a": 1e999}', "the number 1e999"),
    (b'{"a": 9223372036854775808}', "the number 9223372036854775808"),
    (b'{"a": ' + b"9" * 10_000 + b"}", r"the number 9{57}\.\.\."),
]


@pytest.mark.parametrize(("text", "message"), UNREADABLE, ids=[message for _, message in UNREADABLE])
def test_what_cannot_be_read_is_one_short_line(tmp_path, text, message):
    path = tmp_path / "record.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=f"cannot read the run record {path}: .*{message}") as error:
        load_record(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_an_absent_record_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no run record at"):
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
