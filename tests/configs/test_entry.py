"""What a command does with its arguments, its exit codes, and that it leaves nothing behind."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from configs.compose import compose
from configs.entry import entry_point
from configs.errors import UserError
from configs.groups import compose_with_hydra
from configs.text_values import quoted

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run `main(config)` as a command of `entry` with these arguments: (exit code, configs it got, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, entry="train", main=lambda config: None):
        got = []

        def remember(config):
            got.append(config)
            return main(config)

        monkeypatch.setattr(sys, "argv", [f"{entry}.py", *arguments])
        code = 0
        try:
            entry_point(entry, literal=("prompt",))(remember)()
        except SystemExit as stop:
            code = stop.code
        return code, got, capsys.readouterr()

    return call


def test_a_command_gets_the_typed_config_and_makes_no_folder(command, tmp_path):
    code, got, _ = command("model=kuramoto", "seed=3")
    assert (code, got) == (0, [compose("train", ["model=kuramoto", "seed=3"])])
    assert list(tmp_path.iterdir()) == []


def test_the_code_of_main_is_the_exit_code(command):
    assert command(main=lambda config: 130)[0] == 130


@pytest.mark.parametrize("argument", ["modle=fsn", "seed=abc", "model", "--seed=3", "--cfg=everything", "--foo"])
def test_a_mistake_is_one_line_and_code_2(command, tmp_path, argument):
    code, got, output = command(argument)
    assert (code, got, output.out) == (2, [], "")
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_gone_ends_it_without_a_word():
    """`python train.py plan=true | head -0`, in a process of its own: the interpreter flushes once more at exit."""
    code = (
        "from configs.entry import entry_point\n"
        "print('begun', flush=True)\n"
        "input()\n"
        "entry_point('train')(lambda config: print('more', flush=True))()"
    )
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **ends) as process:
        assert process.stdout.readline() == "begun\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_warning_that_the_maths_logs_is_seen():
    """Loggers that are there before Hydra sets up its own must not be silenced by it."""
    code = (
        "import logging; log = logging.getLogger('ssa.pairs')\n"
        "from configs.entry import entry_point\n"
        "entry_point('train')(lambda config: log.warning('computed eagerly'))()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "computed eagerly\n")


def test_a_user_error_of_main_is_one_line_and_code_2(command):
    def main(config):
        raise UserError("no such file\n  here")

    code, _, output = command(main=main)
    assert (code, output.err) == (2, "error: no such file here\n")


def test_an_exception_of_main_is_code_1(command):
    def main(config):
        raise RuntimeError("broken")

    code, _, output = command(main=main)
    assert code == 1
    assert "broken" in output.err


def test_sweep(command):
    code, got, _ = command("-m", "seed=0,1", "model=fsn,transformer", "batch_size=8")
    assert code == 0
    assert {(c.seed, c.model.name, c.batch_size) for c in got} == {
        (0, "fsn", 8),
        (0, "transformer", 8),
        (1, "fsn", 8),
        (1, "transformer", 8),
    }


def test_a_mistake_anywhere_in_a_sweep_starts_none_of_it(command, tmp_path):
    code, got, output = command("-m", "model=fsn,transformer", "model.harmonics=1,2")
    assert (code, got) == (2, [])
    assert "this model has no key 'model.harmonics'" in output.err
    assert list(tmp_path.iterdir()) == []


def test_one_failure_does_not_stop_the_other_jobs_and_is_named(command):
    def main(config):
        if config.seed == 0:
            raise UserError("no such\nfile")
        if config.seed == 1:
            raise RuntimeError("broken")

    code, got, output = command("-m", "seed=0,1,2", main=main)
    assert (code, [config.seed for config in got]) == (1, [0, 1, 2])
    assert "failed: seed=0: no such file\n" in output.err and "failed: seed=1: RuntimeError: broken\n" in output.err
    assert "Traceback" in output.err and "seed=2" not in output.err
    assert command("-m", "seed=0,1", main=lambda config: 130)[0] == 130


@pytest.mark.parametrize(
    "argument",
    [
        "hydra/launcher=null",
        "hydra/launcher=joblib",
        "hydra/sweeper=null",
        "+hydra/launcher=null",
        "~hydra/launcher",
        "hydra=null",
        "hydra.launcher=null",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.max_batch_size=1",
        "hydra.run.dir=null",
        "hydra.verbose=null",
        "launcher=null",
        "sweeper=null",
        "optim.lr=interval(0,1)",
        "seed=glob(*)",
        "model=glob(*)",
    ],
)
@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["one", "many"])
@pytest.mark.parametrize("entry", ["train", "bench"])
def test_what_hydra_would_say_in_many_lines_is_one(command, entry, flags, argument):
    code, got, output = command(*flags, argument, entry=entry)
    assert (code, got, output.out) == (2, [], "")
    assert output.err.startswith("error: ") and output.err.count("\n") == 1, output.err


def test_help_and_config_are_shown_without_running(command):
    code, got, output = command("--help")
    assert (code, got) == (0, [])
    assert "fsn_native" in output.out
    code, got, output = command("--cfg", "job", "seed=5")
    assert (code, got) == (0, [])
    assert "seed: 5" in output.out


def test_a_prompt_is_taken_as_it_is_typed(command):
    text = "def f(a, 'b') -> \"${x}\": return {a: [1, 2]} \\"
    code, got, _ = command("run=x", "task=sample", f"prompt={text}", entry="eval")
    assert (code, got[0].prompt) == (0, text)


def test_any_prompt_survives_hydras_grammar():
    draw = random.Random(0)
    texts = ["", " ", "\\", "\\'", "${foo}", "\\${foo}", "a\nb\t", "é=ü", *("$" + "{" * n for n in range(3))]
    texts += ["".join(draw.choice("\\'\"${}()[],= a\n") for _ in range(draw.randint(1, 8))) for _ in range(8)]
    for text in texts:
        typed = ["run=x", "task=sample", quoted("prompt", text)]
        assert compose("eval", typed).prompt == text


def test_a_current_folder_that_was_removed_is_one_line(monkeypatch):
    def removed():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", removed)
    with pytest.raises(UserError, match=r"the folder that this was started in cannot be used .* type cd FOLDER first"):
        compose_with_hydra("train", ["seed=12345"])
