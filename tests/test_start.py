"""A command loads what it uses: torch and Lightning take seconds, and an error in what was typed needs neither."""

import json
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


def test_a_command_loads_only_what_it_uses(overrides):
    text = [t for t in overrides if t.startswith(("data.path=", "data.cache_dir=", "data.split=", "data.context="))]
    commands = [[*arguments, *(text if "data=text" in arguments else [])] for arguments, _, _ in COMMANDS]
    asked = json.dumps([commands, sorted(HEAVY)])
    done = subprocess.run([sys.executable, "-c", RUN, asked], cwd=ROOT, capture_output=True, text=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(COMMANDS), done.stderr
    for (code, loaded), (arguments, expected, may) in zip(said, COMMANDS, strict=True):
        assert code == expected, (arguments, done.stderr)
        assert set(loaded) <= may, f"{' '.join(arguments)} loads {', '.join(set(loaded) - may)}"
    assert done.stderr.count("error: ") == sum(code == UserError.exit_code for code, _ in said)
