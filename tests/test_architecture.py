"""Imports flow one way: configs -> data -> blocks -> models -> measures -> training -> results -> entry points."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    {"configs"},
    {"data", "blocks"},
    {"baseline", "fsn", "ssa"},
    {"measures"},
    {"training"},
    {"results"},
]
RANK = {package: rank for rank, packages in enumerate(ORDER) for package in packages}
# Imported only where they are used, so that a start without them is quick and possible.
LATE = {"wandb", "datasets", "tokenizers", "sacrebleu", "matplotlib", "zstandard", "pyarrow", "rich", "scipy", "optuna"}
LATE |= {"pooch", "requests"}


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of what the nodes below import."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def sources() -> list[Path]:
    return sorted(path for package in RANK for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_import_never_points_back(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text())
    ours = {name for name in imports(tree) if name in RANK and name != package}
    assert all(RANK[name] < RANK[package] for name in ours), ours
    if "lightning" in imports(tree):
        assert package in ("data", "training"), "models are plain PyTorch modules"
    at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not imports(at_import) & LATE


def test_importing_the_models_needs_torch_alone() -> None:
    """A fresh interpreter: neither Lightning nor Hydra nor anything of theirs comes with a layer."""
    import subprocess

    code = "import sys, fsn, baseline, ssa; print({'lightning', 'hydra', 'wandb', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
