"""What every command shares: characters that an output lacks, where a bar can be drawn, and how a command ends."""

import ast
import sys
from pathlib import Path

import pytest

from configs.command import ASCII, STAND_INS, can_draw, end_with
from configs.errors import UserError

ROOT = Path(__file__).parents[2]


def test_what_ascii_lacks_has_a_stand_in():
    assert "0.1 ± 0.2 · θ — 日\udcff".encode("ascii", STAND_INS) == b"0.1 +- 0.2 | theta -- ??"
    assert "±\udcff".encode("utf-8", STAND_INS) == "±?".encode()  # a file name that is no UTF-8
    assert all(stand_in.isascii() for stand_in in ASCII.values())


def printed_texts():
    """Every string that the packages print, docstrings left out, and the text of their YAML files."""
    files = [
        path for package in ("configs", "measures", "training", "results") for path in (ROOT / package).rglob("*.py")
    ]
    for path in files:
        if path.parent.name == "figures" or path.name in ("report.py", "printable.py"):
            continue  # drawn, HTML, and patterns
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value
    for path in [*(ROOT / "sweeps").rglob("*.yaml"), *(ROOT / "results").rglob("*.yaml")]:
        yield path, path.read_text(encoding="utf-8")


def test_every_character_that_we_print_has_one():
    lacking = {(path.name, c) for path, text in printed_texts() for c in text if not c.isascii() and c not in ASCII}
    assert not lacking


def test_every_command_ends_in_the_same_way():
    """Else one of them shows a traceback for a character, a closed pipe or a user's mistake."""
    sources = [path for path in ROOT.rglob("*.py") if not {"tests", ".venv"} & set(path.relative_to(ROOT).parts)]
    commands = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sources}
    commands = {name: text for name, text in commands.items() if '__name__ == "__main__"' in text}
    assert {"train.py", "eval.py", "bench.py", "results/status.py", "results/compare.py"} <= set(commands)
    others = {name for name, text in commands.items() if "end_with(main" not in text and "@entry_point(" not in text}
    assert others <= {"training/run_record/wandb_mirror.py", "training/processes/child.py"}  # no commands of a user's


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no file\n x"), 2, "error: no file x (run a, step 3)\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_how_a_command_ends(capsys, error, code, said):
    def main():
        raise error

    error.add_note("run a, step 3")
    with pytest.raises(SystemExit) as ended:
        end_with(main)
    assert (ended.value.code, capsys.readouterr().err) == (code, said)


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_is_what_the_command_says_of_itself(monkeypatch, capsys, asked):
    monkeypatch.setattr("sys.argv", ["target", asked])
    with pytest.raises(SystemExit) as ended:
        end_with(lambda: 1, "\nA table: `python -m results.target`.\n")
    assert (ended.value.code, capsys.readouterr().out) == (0, "A table: `python -m results.target`.\n")


def test_every_module_that_parses_its_own_words_has_help():
    for name in (
        "target",
        "demo",
        "report",
        "all_tables",
        "audit",
        "claims/__main__",
        "gpu/__main__",
        "scaling/__main__",
    ):
        assert "end_with(main, __doc__)" in (ROOT / "results" / f"{name}.py").read_text(), name


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "CI": "false", "NO_COLOR": "1"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": ""}, False),
        (True, {}, False),
        (True, {"TERM": "xterm", "CI": "true"}, False),
    ],
)
def test_where_a_bar_can_be_drawn(monkeypatch, terminal, environment, expected):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    for name in ("TERM", "CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert can_draw() is expected


def test_a_library_that_fails_as_it_cleans_up_after_ctrl_c_shows_no_traceback(capsys):
    def main():
        try:
            raise KeyboardInterrupt
        finally:
            {}["half done"]

    with pytest.raises(SystemExit) as end:
        end_with(main)
    assert (end.value.code, capsys.readouterr().err) == (130, "stopped\n")
    with pytest.raises(KeyError):
        end_with(lambda: {}["a bug of ours"])
