"""What is installed is the layers alone, beside whatever a user has; and the files that lock the rest agree."""

import ast
import email
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from results import audit
from training.run_record import environment

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PACKAGES = set(PYPROJECT["tool"]["setuptools"]["packages"])
# What a user's own files may be called.
TAKEN = ("blocks", "data", "configs", "measures", "training", "results", "tests", "train", "eval", "bench")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
USE = """
import sys
import warnings

for name in ("numpy", "scipy", "lightning", "hydra", "omegaconf", "pydantic", "rich", "yaml"):
    sys.modules[name] = None  # an import of it fails

warnings.simplefilter("ignore")  # torch says that there is no NumPy
import torch
from baseline import Transformer
from fsn import FSN
from ssa import OSN, locking_radius

tokens = torch.arange(6).view(1, 6)
for kind in (Transformer, FSN, OSN):
    assert kind(11, 8, 1, 2, 8)(tokens).shape == (1, 6, 11)
    print(sys.modules[kind.__module__].__file__)
assert 0 < locking_radius(1.0, 1.0, 1.0) < 1
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, because setuptools writes beside the sources."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in ROOT.iterdir():
        if (path / "__init__.py").exists():
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("records", "__pycache__"))
        elif path.is_file():
            shutil.copy(path, copy)
    done = subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_the_layers_alone(wheel: zipfile.ZipFile) -> None:
    assert not PACKAGES & set(TAKEN)
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.*")
        if path.suffix in (".py", ".cpp", ".h")
    }
    sources |= {f"{package}/py.typed" for package in PACKAGES}
    info = f"synchrony_attention-{PROJECT['version']}.dist-info/"
    assert {name for name in wheel.namelist() if not name.startswith(info)} == sources
    metadata = email.message_from_bytes(wheel.read(f"{info}METADATA"))
    required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert [Requirement(text).name for text in required] == ["torch"]
    assert metadata["License-Expression"] == "MIT" and f"{info}licenses/LICENSE" in wheel.namelist()


def test_a_users_own_files_break_nothing(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    site, own = tmp_path / "site", tmp_path / "own"
    wheel.extractall(site)
    for name in TAKEN:
        (own / name).mkdir(parents=True)
        (own / name / "__init__.py").write_text("raise ImportError('a file of the user')")
        (own / f"{name}.py").write_text("raise ImportError('a file of the user')")
    command = [sys.executable, "-c", USE]
    variables = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=own, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(site) for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_layers_import_torch_alone(package: str) -> None:
    """Wherever in a file: an import that is put off fails later, and only for some.

    `save` and `load` say what to install. Triton comes with the builds of torch that its kernels are for.
    """
    more = {"saved.py": {"safetensors"}, "triton_kernels.py": {"triton"}}
    for path in (ROOT / package).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        needed = {name.partition(".")[0] for name in names} - PACKAGES - set(sys.stdlib_module_names)
        assert needed <= {"torch"} | more.get(path.name, set()), path


def test_the_hashes_are_of_what_is_pinned() -> None:
    pins = audit.read_lock(ROOT / "constraints.txt")
    entries = re.findall(r"^(\S+)==(\S+) \\\n((?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", _hashes(), re.MULTILINE)
    assert {audit.normal(name): version for name, version, _ in entries} == {
        name: version for name, version in pins.items() if name != "torch"
    }
    assert _hashes().count("==") == len(entries)  # none is left out


def _hashes() -> str:
    return (ROOT / "hashes.txt").read_text()


def test_each_pin_is_needed_and_each_need_is_pinned() -> None:
    """From pyproject.toml on, through what each package that is installed requires."""
    extras, needed = PROJECT["optional-dependencies"], set()
    waiting = [Requirement(text) for texts in (PROJECT["dependencies"], *extras.values()) for text in texts]
    while waiting:
        one = waiting.pop()
        name, wanted = audit.normal(one.name), {"", *one.extras}
        if name == PROJECT["name"] or (one.marker and not one.marker.evaluate()):
            continue
        if audit.OF_TORCH.fullmatch(name) or wanted <= {extra for known, extra in needed if known == name}:
            continue
        needed |= {(name, extra) for extra in wanted}
        try:
            all_of_it = [Requirement(text) for text in requires(one.name) or []]
        except PackageNotFoundError:
            pytest.fail(f"{one} is required and not installed")
        for other in all_of_it:
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in wanted):
                other.marker = None
                waiting.append(other)
    pins = audit.read_lock(ROOT / "constraints.txt").keys()
    assert {name for name, _ in needed} == set(pins)


def test_versions_and_pythons_are_said_alike() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == environment.versions()["synchrony"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    pythons = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert [f"Programming Language :: Python :: {python}" for python in pythons] == [
        text for text in PROJECT["classifiers"] if "Python ::" in text
    ]
