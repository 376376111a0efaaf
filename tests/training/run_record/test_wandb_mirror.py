"""W&B gets the numbers of the local record, and nothing that it does reaches the run."""

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.run import run
from training.run_record.record import load_record

BLOCK = 32768


def records(path: Path):
    """The protobuf records of a .wandb file: a LevelDB log behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined] # protobuf makes it at import

    content, position, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def mirrored(path: Path) -> dict[tuple[int, str], float]:
    """What W&B was told: (step, name) -> number."""
    told = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            step = row["_step"]
            told.update({(step, name): value for name, value in row.items() if not name.startswith("_")})
    return told


@pytest.mark.parametrize("model", ["transformer", "osn"])
def test_the_offline_file_holds_the_numbers_of_the_local_record(model, make_config, tmp_path, monkeypatch, capfd):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    run(make_config("logger=wandb", f"model={model}", "trainer.max_steps=10", "trainer.val_every=5"))
    record = load_record(tmp_path / "run")
    (path,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    expected = {
        (row["step"], f"{row['split']}/{name}"): value
        for row in record.metrics
        for name, value in row.items()
        if name not in ("step", "split", "synchrony")
    }
    for row in record.rows("validation"):
        for quantity, layers in row.get("synchrony", {}).items():
            for layer, heads in enumerate(layers):
                for head, value in enumerate(heads):
                    expected[row["step"], f"synchrony/{quantity}/layer{layer}.head{head}"] = value
    assert len(expected) > 30
    assert mirrored(path) == expected
    assert path.name.startswith(f"run-{record.config_hash}")
    said = capfd.readouterr()
    assert "wandb" not in (said.out + said.err).lower()


FAKE = """
class Settings:
    def __init__(self, **_): pass
def init(**_): {init}
class Run:
    def log(self, *_, **__): {log}
"""


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        pytest.param("raise ImportError('no W&B here')", "no W&B here", id="absent"),
        pytest.param(FAKE.format(init="raise OSError('server is down')", log="pass"), "is down", id="failing to start"),
        pytest.param(
            FAKE.format(init="return Run()", log="raise OSError('disk is full')"), "is full", id="failing later"
        ),
        pytest.param("import time\ntime.sleep(600)", "not done after 1 second", id="hanging"),
        pytest.param("import sys\nsys.exit(len(input('API key: ')))", "EOF", id="asking for a key"),
    ],
)
def test_a_mirror_that_fails_warns_once_and_changes_nothing(
    make_config, tmp_path, monkeypatch, capfd, same_weights, uninterrupted, code, warning
):
    whole = uninterrupted()
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "wandb.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(fake))
    capfd.readouterr()
    started = time.monotonic()
    run(make_config("logger=wandb", "logger.timeout=1"))
    assert time.monotonic() - started < 60, "a mirror that hangs is left behind"
    said = capfd.readouterr().err
    assert said.count(": the W&B mirror stopped") == 1 and warning in said
    assert load_record(tmp_path / "run").status == "done"
    same_weights(tmp_path / "run", whole)


class Refuse(BaseHTTPRequestHandler):
    """A server that knows no key."""

    def do_POST(self):
        self.send_response(401)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("server", ["absent", "hanging", "refusing the key"])
def test_wandb_itself_without_its_server_changes_nothing(
    server, make_config, tmp_path, monkeypatch, capfd, same_weights, uninterrupted
):
    whole = uninterrupted()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        port = {"absent": 9, "hanging": listening.getsockname()[1], "refusing the key": refusing.server_port}[server]
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        capfd.readouterr()
        run(make_config("logger=wandb", "logger.mode=online", "logger.timeout=5"))
        refusing.shutdown()
    assert capfd.readouterr().err.count("the W&B mirror stopped") == 1
    assert load_record(tmp_path / "run").status == "done"
    same_weights(tmp_path / "run", whole)
