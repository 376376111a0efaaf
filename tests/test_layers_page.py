"""docs/layers.md: its blocks of code, as they stand there, one after another."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "layers.md").read_text(), re.MULTILINE | re.DOTALL)


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
