"""What Hydra does not document is imported in one file alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRIVATE = ROOT / "configs" / "hydra_private.py"
# Of these packages: the documented modules.
DOCUMENTED = {"hydra.core.config_store", "hydra.core.hydra_config"}


def private_names(source: str) -> set[str]:
    """The modules of hydra._internal and hydra.core that a source names, in an import or after `hydra.`."""
    named = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute):
            named.add(ast.unparse(node))
    inside = {name for name in named if name.startswith(("hydra._internal", "hydra.core"))}
    return {name for name in inside if not name.startswith(tuple(DOCUMENTED))}


def sources() -> list[Path]:
    folders = ("baseline", "synchrony_blocks", "configs", "data", "fsn", "measures", "results", "ssa", "training")
    return sorted([*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_private_names_of_hydra_stand_in_one_file(path: Path) -> None:
    assert bool(private_names(path.read_text())) == (path == PRIVATE)


@pytest.mark.parametrize(
    "source",
    [
        "import hydra._internal.utils",
        "from hydra._internal import utils",
        "def f():\n    from hydra.core.plugins import Plugins",
        "from hydra.core import singleton",
        "import hydra\nx: hydra.core.utils.JobReturn",
    ],
)
def test_each_way_to_name_one_is_seen(source: str) -> None:
    assert private_names(source)
    assert not private_names("from hydra.core.config_store import ConfigStore\nimport hydra\nhydra.main()")
