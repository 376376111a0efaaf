"""Imports flow one way: configs -> data -> synchrony_blocks -> models -> measures -> training -> results."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from configs.schema import MODELS

ROOT = Path(__file__).parents[1]
ORDER = [
    {"configs"},
    {"data", "synchrony_blocks"},
    {kind.network.partition(":")[0] for kind in MODELS.values()},
    {"measures"},
    {"training"},
    {"results"},
]
RANK = {package: rank for rank, packages in enumerate(ORDER) for package in packages}
# Imported only where they are used, so that a start without them is quick and possible.
LATE = {
    "wandb",
    "datasets",
    "tokenizers",
    "sacrebleu",
    "sacremoses",
    "matplotlib",
    "zstandard",
    "pyarrow",
    "rich",
    "scipy",
    "optuna",
}
LATE |= {"pooch", "requests", "safetensors"}


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
        assert package == "training", "models are plain PyTorch modules, and data is read without a trainer"
    at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not imports(at_import) & LATE


def circle(sources: dict[str, str]) -> list[str]:
    """Modules {name: source} that import each other in a circle: imports at any depth, those for types too."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        found = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module and not node.level, f"{module} has a relative import"
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        # A package is imported with what lies in it.
        graph[module] = {name for name in found if name in sources and not f"{module}.".startswith(f"{name}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        members: list[str] = error.args[1]
        return members
    return []


def test_no_circle_of_imports_inside_packages_either() -> None:
    names = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sources()
    }
    assert circle({name: path.read_text() for path, name in names.items()}) == []
    hidden = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.b import B"
    assert set(circle({"a.b": "def f():\n    import a.c", "a.c": hidden, "a": "from a.b import B"})) == {"a.b", "a.c"}


def test_measures_need_torch_and_numbers_alone() -> None:
    needed = {name for path in (ROOT / "measures").rglob("*.py") for name in imports(ast.parse(path.read_text()))}
    assert needed - set(RANK) - sys.stdlib_module_names <= {"torch", "numpy", "scipy", "sacrebleu", "sacremoses"}


def test_importing_the_models_needs_torch_alone() -> None:
    """A fresh interpreter: neither Lightning nor Hydra nor anything of theirs comes with a layer."""
    import subprocess

    code = "import sys, fsn, baseline, ssa; print({'lightning', 'hydra', 'wandb', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
