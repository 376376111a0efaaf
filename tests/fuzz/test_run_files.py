"""metrics.jsonl, status.json and sweep files: no whole line is lost, and whatever else is there is told in a line."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from configs import sweeps
from configs.counted import counted
from results.status import STATES, lines, state_of
from training.run_record.record import load_record, record_form
from training.run_record.recorder import Recorder, read_rows

ROOT = Path(__file__).parents[2]
TRAINING = {"split": "train", "nats": 1.5, "lr": 1e-3, "grad_norm": 2.0, "tokens_per_second": 900.5}
VALIDATION = {"split": "validation", "nats": 1.25, "standard_error": None}
TEXT = {"epoch": 0.5, "bits_per_byte": 1.8}
LOSS = {**VALIDATION, **TEXT, "bytes": 900, "targets": 800, "blocks": 9, "synchrony": {"order": [[0.5, 0.25]]}}
RECALL = {**VALIDATION, "context": 9, "strings": 3, "targets": 3, "accuracy": 0.5}
RECALL.pop("standard_error")
ROWS = [TRAINING | TEXT, LOSS, TRAINING, RECALL | {"lengths": [{k: RECALL[k] for k in list(RECALL)[1:]}]}]


def row(kind, step):
    return {"step": step, "tokens": 64 * step} | ROWS[kind]


@pytest.fixture(scope="module")
def metrics(damaged):
    """(lines, each with whether it is whole; what comes after the last of them)."""
    good = st.builds(row, st.integers(0, 3), st.integers(1, 9)).map(lambda content: (damaged.json(content), True))
    bad = damaged.values([row(kind, 5) for kind in range(4)]).map(damaged.json)
    bad |= damaged.bytes([damaged.json(row(kind, 5)) for kind in range(4)])
    last_line = damaged.json(row(0, 6))
    cut_off = st.integers(0, 60).map(lambda n: last_line[:n]) | st.just(last_line)
    line = good | bad.map(lambda line: (line, False))
    return st.tuples(st.lists(line, min_size=1, max_size=6), cut_off)


def test_whole_rows_of_metrics_are_never_lost(damaged, metrics, tmp_path):
    path = tmp_path / "metrics.jsonl"

    def read(given):
        content, last = given
        path.write_bytes(b"".join(line + b"\n" for line, _ in content) + last)
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            rows = read_rows(path)
        wanted = [json.loads(line) for line, whole in content if whole]
        left = iter(rows)
        assert all(any(row == other for other in left) for row in wanted)
        n_lines = sum(line.count(b"\n") + 1 for line, _ in content)
        n_whole = len(rows) - last.endswith(b"}")
        assert (n_whole < n_lines) == (f"{n_whole} of {counted(n_lines, 'line')} whole" in said.getvalue())
        assert not last.endswith(b"}") or rows[-1] == json.loads(last)

    damaged.only_clean_errors(100, metrics, read, refused=0)


def test_a_run_that_goes_on_after_damage(damaged, metrics, tmp_path):
    """What is whole is in its record, in order, and that can be read again."""
    paths = sorted((ROOT / "results" / "records").glob("*/*.json"))
    content = json.loads(next(path for path in paths if path.parent.name != "bench").read_text())
    content |= {"metrics": [row(0, 3), row(1, 4)], "evaluations": [], "status": "interrupted", "final": None}

    def read(given):
        path = tmp_path / "metrics.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line, _ in given[0]) + given[1])
        record = record_form().validate_python(content)
        with contextlib.redirect_stderr(io.StringIO()):
            rows = [*content["metrics"], *read_rows(path)]
            Recorder(record, tmp_path, []).start("{}", 5)
            assert read_rows(path) == record.metrics == load_record(tmp_path).metrics
        places = [(row["step"], row["split"] == "validation") for row in record.metrics]
        assert places == sorted({(row["step"], row["split"] == "validation") for row in rows if row["step"] <= 5})

    damaged.only_clean_errors(15, metrics, read, refused=0)


STATUS = {
    **{"status": "running", "error": None, "run": "a", "total_steps": 100, "host": "x", "pid": 3, "processes": 1},
    **{"step": 9, "epoch": 0.5, "tokens": 900, "unit": "nats", "train": 2.5, "validation": 2.25, "beats": 3},
    **{"tokens_per_second": 9.5, "seconds_left": 900.0, "started": "2026-01-01T00:00:00+00:00", "monotonic": 5.0},
    "heartbeat": "2026-01-01T00:00:00+00:00",
}


def test_status_of_runs(damaged, tmp_path):
    goods = [STATUS | {"status": status} for status in ("running", "failed", "done")]
    records = [{"status": "running", "metrics": [row(0, 3), row(1, 4)], "error": None}]
    status = damaged.values(goods).map(damaged.json) | damaged.bytes(list(map(damaged.json, goods)))
    record = damaged.values(records).map(damaged.json) | damaged.bytes(list(map(damaged.json, records)))

    def read(given):
        for name, content in zip(("status.json", "record.json"), given, strict=True):
            (tmp_path / name).write_bytes(content)
        state = state_of(tmp_path, "a")
        assert state.state in STATES
        for width in (None, 60):
            _, line = lines([state], width)
            assert line.isprintable() and len(line) < 1100, line
            assert width is None or len(line) <= width

    damaged.only_clean_errors(100, st.tuples(status, record), read, refused=0)


def test_sweep_files(damaged, tmp_path, monkeypatch):
    goods = [path.read_bytes() for path in sorted((ROOT / "sweeps").glob("*.yaml"))]
    goods = sorted(goods, key=len)[:6]
    monkeypatch.setattr(sweeps, "FOLDER", tmp_path)
    trees = [sweeps.OmegaConf.to_container(sweeps.OmegaConf.create(content.decode())) for content in goods]

    def read(content):
        (tmp_path / "mine.yaml").write_bytes(content)
        for profile in ("cpu", "smoke"):
            sweeps.expand("mine", profile)

    values = damaged.values(trees).map(damaged.json)  # JSON is YAML
    damaged.only_clean_errors(25, values | damaged.bytes(goods), read)
