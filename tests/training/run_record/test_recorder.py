import json

import pytest

from training.meter import NonFiniteError
from training.run_record.recorder import Recorder, read_rows


def test_rows_after_the_checkpoint_and_a_torn_last_line_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15)) + '{"step": 20, "na')
    assert read_rows(path, 100) == [{"step": 5}, {"step": 10}, {"step": 15}]
    assert read_rows(path, 10) == [{"step": 5}, {"step": 10}]
    assert read_rows(tmp_path / "absent.jsonl", 10) == []


def test_a_metric_that_is_not_finite_is_named_with_its_step_and_not_written(tmp_path):
    recorder = Recorder(None, tmp_path, [])
    with pytest.raises(NonFiniteError, match="validation nats became inf at step 7"):
        recorder.add({"step": 7, "split": "validation", "nats": float("inf")})
    assert not (tmp_path / "metrics.jsonl").exists()
