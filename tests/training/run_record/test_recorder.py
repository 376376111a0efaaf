import json

import pytest

from training.meter import NonFiniteError
from training.run_record.recorder import Recorder, read_rows


def row(step):
    return {"step": step, "tokens": step, "split": "train", "nats": 1.0, "epoch": 0.1, "bits_per_byte": 1.0} | {
        name: 1.0 for name in ("lr", "grad_norm", "tokens_per_second")
    }


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row(step)) + "\n" for step in (5, 10, 15)) + '{"step": 20, "na')
    assert read_rows(path) == [row(5), row(10), row(15)]
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_a_metric_that_is_not_finite_is_named_with_its_step_and_not_written(tmp_path):
    recorder = Recorder(None, tmp_path, [])
    with pytest.raises(NonFiniteError, match="validation nats became inf at step 7"):
        recorder.add({"step": 7, "split": "validation", "nats": float("inf")})
    assert not (tmp_path / "metrics.jsonl").exists()
