"""A command loads what it uses: torch and Lightning take seconds, and an error in what was typed needs neither."""

import json
import os
import subprocess
import sys
from pathlib import Path

from configs.errors import UserError

ROOT = Path(__file__).parents[1]
COMPILER = "torch._dynamo"  # takes as long to load as torch itself
HEAVY = {
    "torch",
    COMPILER,
    "lightning",
    "wandb",
    "datasets",
    "tokenizers",
    "sacrebleu",
    "matplotlib",
    "scipy",
    "pandas",
}
# In one process, one after the other: what one loads counts for all that follow, so the last column only grows.
COMMANDS: list[tuple[list[str], int, set[str]]] = [
    (["train.py", "modl=fsn"], 2, set()),
    (["train.py", "data=text27", "data.path=nowhere"], 2, set()),
    (["train.py", "+sweeps=fsn-enwik"], 2, set()),
    (["eval.py", "run=nowhere"], 2, set()),
    (["bench.py", "tsk=layers"], 2, set()),
    (["-m", "results.compare", "nowhere"], 2, set()),
    (["-m", "results.target", "table-fsn"], 2, set()),
    (["-m", "results.status", "nowhere"], 2, set()),
    (["-m", "results.claims", "nowhere"], 2, set()),
    (["-m", "results.report", "nowhere"], 2, set()),
    (["-m", "results.gpu", "hours=soon"], 2, set()),
    (["-m", "results.scaling", "nowhere"], 2, set()),
    (["-m", "results.compare", "results/records/enwiki2015-250k-4m"], 0, {"scipy"}),
    (["train.py", "+sweeps=fsn-enwik8", "profile=smoke", "status=true"], 0, {"scipy", "torch"}),
    (["train.py", "model=osn", "scale=smoke", "data=text", "plan=true"], 0, {"scipy", "torch", COMPILER}),
]
RUN = """
import contextlib, json, os, runpy, sys
commands, heavy = json.loads(sys.argv[1])
for arguments in commands:
    module = arguments[0] == "-m"
    sys.argv = arguments[module:]
    code = 0
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if module:
                runpy.run_module(arguments[1], run_name="__main__", alter_sys=False)
            else:
                runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, sorted(set(heavy) & set(sys.modules))]), flush=True)
"""


def ran(commands: list[list[str]], **variables: object) -> tuple[list[tuple[int, list[str]]], str]:
    """Of each command its exit code and the heavy modules that are loaded after it, and what all said on stderr."""
    asked = json.dumps([commands, sorted(HEAVY)])
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    done = subprocess.run([sys.executable, "-c", RUN, asked], cwd=ROOT, capture_output=True, text=True, env=environment)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()], done.stderr


def test_a_command_loads_only_what_it_uses(overrides):
    text = [t for t in overrides if t.startswith(("data.path=", "data.cache_dir=", "data.split=", "data.context="))]
    said, errors = ran([[*arguments, *(text if "data=text" in arguments else [])] for arguments, _, _ in COMMANDS])
    assert len(said) == len(COMMANDS), errors
    for (code, loaded), (arguments, expected, may) in zip(said, COMMANDS, strict=True):
        assert code == expected, (arguments, errors)
        assert set(loaded) <= may, f"{' '.join(arguments)} loads {', '.join(set(loaded) - may)}"
    assert errors.count("error: ") == sum(code == UserError.exit_code for code, _ in said)


def test_the_status_of_a_sweep_needs_torch_only_once(tmp_path):
    status = ["train.py", "+sweeps=fsn-enwik8", "profile=smoke", "status=true"]
    (first,), _ = ran([status], SYNCHRONY_CACHE=tmp_path)
    (second,), _ = ran([status], SYNCHRONY_CACHE=tmp_path)
    assert first[0] == second[0] == 0 and "torch" in first[1], "else the test shows nothing"
    assert "torch" not in second[1]
