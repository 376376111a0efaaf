"""docs/layers.md: its blocks of code, as they stand there, one after another."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import pytest
import torch

from fsn.layer import LayerForm
from ssa import OSNBlock, Positions, SelectiveSynchronizationAttention, Start
from ssa.network import block_options

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "layers.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CLASSES = (
    *("fsn.SynchronizationAttention", "ssa.SelectiveSynchronizationAttention", "ssa.Positions", "ssa.Start"),
    *("ssa.OSNBlock", "fsn.FSN", "ssa.OSN", "baseline.Transformer"),
)
EVERYWHERE = ("device", "dtype")


def test_what_runs_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What a graph is made of is tested; kernels would take a C++ compiler and a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    here = [block for block in BLOCKS if not block.startswith("# ")]
    assert len(here) == 9 and len(BLOCKS) == 10
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(here):
        exec(compile(block, f"docs/layers.md, block {number + 1}", "exec"), names)
    assert sorted(path.name for path in (tmp_path / "my-model").iterdir()) == ["config.json", "model.safetensors"]


def test_two_processes_agree_on_gradients(tmp_path: Path) -> None:
    (script,) = (block for block in BLOCKS if block.startswith("# "))
    (tmp_path / "ddp.py").write_text(script)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ddp.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *start], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def arguments(name: str) -> list[tuple[str, str, str]]:
    """Name, type and default of what a class takes, in order; `*` before what is given by name."""
    package, _, of = name.rpartition(".")
    given = list(inspect.signature(getattr(importlib.import_module(package), of)).parameters.values())
    rows, named = [], False
    for one in [one for one in given if one.kind is not one.VAR_KEYWORD and one.name not in EVERYWHERE]:
        if one.kind is one.KEYWORD_ONLY and not named:
            rows.append(("*", "", ""))
            named = True
        rows.append((one.name, *_shown(one)))
    return rows + _passed_on(name)


def _passed_on(name: str) -> list[tuple[str, str, str]]:
    """What a network takes for its layers: `**form` and `**options`."""
    if name == "fsn.FSN":
        return [(one.name, *_shown(one)) for one in inspect.signature(LayerForm).parameters.values()]
    if name != "ssa.OSN":
        return []
    own = block_options()
    values = {**own, **asdict(own["positions"]), **asdict(own["start"])}
    network = [one for one in inspect.signature(block_options).parameters.values() if one.kind is one.KEYWORD_ONLY]
    attention = list(inspect.signature(SelectiveSynchronizationAttention).parameters.values())[3:]
    of_layers = [inspect.signature(OSNBlock).parameters["feed_forward"], *attention]
    of_layers += [inspect.signature(kind).parameters[f.name] for kind in (Positions, Start) for f in fields(kind)]
    rows = [(one.name, *_shown(one)) for one in network]
    for one in of_layers:
        if one.name not in ("positions", "start", "calibrated", *EVERYWHERE):
            rows.append((one.name, *_shown(one.replace(default=values.get(one.name, one.default)))))
    return rows


def _shown(one: inspect.Parameter) -> tuple[str, str]:
    """Type and default as the page writes them."""
    kind = re.sub(r"\w+\.", "", inspect.formatannotation(one.annotation))
    kind = kind.replace(" | ", " or ").replace("Sequence[int]", "ints").replace("Sequence[float]", "two floats")
    if one.default is one.empty:
        return kind, ""
    if one.default in (Positions(), Start()):
        return kind, f"`{type(one.default).__name__}()`"
    return kind, f"`{one.default!r}`"


@pytest.mark.parametrize("name", CLASSES)
def test_the_tables_of_arguments_are_those_of_the_signatures(name: str) -> None:
    """Names, types, defaults, in order, and a meaning for each."""
    (section,) = re.findall(rf"^### `{re.escape(name)}`\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"]
    assert [tuple([row[0].strip("`"), *row[1:3]]) for row in rows] == arguments(name)
    assert all(row[3] for row in rows)
