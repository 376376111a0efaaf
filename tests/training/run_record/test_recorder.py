import json

import pytest

from training.meter import NonFiniteError
from training.run_record.metrics_file import read_rows
from training.run_record.recorder import Recorder


def row(step):
    return {"step": step, "tokens": step, "split": "train", "nats": 1.0, "epoch": 0.1, "bits_per_byte": 1.0} | {
        name: 1.0 for name in ("lr", "grad_norm", "tokens_per_second")
    }


def validation(step):
    common = {name: 1.0 for name in ("nats", "epoch", "bits_per_byte", "standard_error")}
    return {"step": step, "tokens": step, "split": "validation", "bytes": 9} | common


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row(step)) + "\n" for step in (5, 10, 15)) + '{"step": 20, "na')
    assert read_rows(path) == [row(5), row(10), row(15)]
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_a_last_line_that_only_lacks_its_end_is_a_row(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(row(5)) + "\n" + json.dumps(row(10)))
    assert read_rows(path) == [row(5), row(10)]
    assert capsys.readouterr().err == ""
    path.write_text("null\n" + json.dumps(row(10)))
    assert read_rows(path) == [row(10)]
    assert capsys.readouterr().err == f"warning: {path}: line 1 is damaged and left out; 0 of 1 line whole\n"


def test_a_metric_that_is_not_finite_is_named_with_its_step_and_not_written(tmp_path):
    recorder = Recorder(None, tmp_path, [])
    with pytest.raises(NonFiniteError, match="validation nats became inf at step 7"):
        recorder.add({"step": 7, "split": "validation", "nats": float("inf")})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_validation_is_a_row(tmp_path):
    path, content = tmp_path / "metrics.jsonl", validation(7) | {"synchrony": {"order": [[1.0]]}}
    path.write_text(json.dumps(content) + "\n")
    assert read_rows(path) == [content]


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"step": 1e999}',
        b'{"step": ' + b"9" * 400 + b"}",
        json.dumps(row(7) | {"nats": "1.0"}).encode(),
        json.dumps(row(7) | {"nats": float("nan")}).encode(),
        json.dumps(row(7))[:40].encode(),
        # Half a character: in record.json it would make all of the record unreadable.
        json.dumps(validation(7) | {"synchrony": {"\ud800": [[1.0]]}}).encode(),
        b"\xff\xfe",
        b"",
        b"null",
    ],
    ids=["nested", "infinite", "long", "text", "nan", "cut", "half", "bytes", "empty", "null"],
)
def test_whole_rows_after_a_damaged_line_are_kept_and_the_line_is_named(line, tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([json.dumps(row(5)).encode(), line, json.dumps(row(10)).encode(), b""]))
    assert read_rows(path) == [row(5), row(10)]
    said = capsys.readouterr().err
    assert said == f"warning: {path}: line 2 is damaged and left out; 2 of 3 lines whole\n"
