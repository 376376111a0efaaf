"""The worked example of CONTRIBUTING.md, as written there: three places make a model, which trains and samples."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.run_record.record import load_record

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with the toy in it: its folder, one class more in the schema, and one YAML file more."""
    house = tmp_path_factory.mktemp("house")
    for path in ROOT.iterdir():
        if path.name == "configs":
            shutil.copytree(path, house / path.name)
        elif (path / "__init__.py").exists():
            (house / path.name).symlink_to(path)
        elif path.suffix == ".py":  # Python looks for modules where a script really lies
            shutil.copy(path, house)
    example = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert list(example) == ["toy/__init__.py", "configs/schema.py", "configs/model/toy.yaml"]
    for name, text in example.items():
        path = house / name
        path.parent.mkdir(exist_ok=True)
        earlier = path.read_text() + "\n\n" if path.exists() else ""
        path.write_text(earlier + text)
    return house


def command(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(house)}
    return subprocess.run([sys.executable, *arguments], cwd=house, env=environment, capture_output=True, text=True)


def test_a_toy_model_trains_is_evaluated_and_samples(house: Path, overrides: list[str], tmp_path: Path) -> None:
    trained = command(house, "train.py", *overrides, "model=toy", "model.gain=2", "optim.kernel_lr=3")
    assert trained.returncode == 0, trained.stderr
    record = load_record(tmp_path / "run")
    assert record.status == "done" and record.config["model"]["gain"] == 2
    assert abs(record.parameters["total"] - 50_000) <= 250
    assert record.final["nats"] < record.rows("validation")[0]["nats"] or len(record.rows("validation")) == 1
    assert record.rows("train")[-1]["nats"] < record.rows("train")[0]["nats"] - 1
    evaluated = command(house, "eval.py", f"run={tmp_path / 'run'}", "split=validation")
    assert evaluated.returncode == 0, evaluated.stderr
    rows = json.loads((tmp_path / "run" / "record.json").read_text())["evaluations"]
    assert [row["nats"] for row in rows] == [pytest.approx(record.final["nats"], abs=1e-6)]
    sampled = command(house, "eval.py", f"run={tmp_path / 'run'}", "task=sample", "prompt=the ", "length=20")
    assert sampled.returncode == 0, sampled.stderr
    assert sampled.stdout.startswith("the ") and len(sampled.stdout) > 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["model=toy", "model.gain=0"], "error: model.gain=0.0: must be above 0; type for example model.gain=1.0"),
        (["model=fsn", "model.gain=2"], "this model has no key 'model.gain', which toy has: leave it out"),
        (["model=toy", "optim.gate_lr=2"], "optim.gate_lr changes nothing here"),
    ],
)
def test_its_mistakes_are_one_line(house: Path, arguments: list[str], says: str) -> None:
    done = command(house, "train.py", *arguments, "plan=true")
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
