"""A target from the command line: what it trains, what it writes, and what it says of mistakes."""

from pathlib import Path

import pytest

from configs.errors import UserError
from results.target import main, parse, targets

ROOT = Path(__file__).parents[2]


def test_every_sweep_has_a_target_and_every_target_a_line_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    help_lines = {line.partition(":")[0] for line in makefile.splitlines() if ":" in line and "## " in line}
    assert set(targets()) <= help_lines
    assert {"table-fsn-enwik8", "figure-copy-depth", "figure-coupling", "table-ssa-mt"} <= set(targets())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "which table. type one of figure-copy-depth"),
        (["profile=cpu"], "which table"),
        (["tabel-ssa-mt"], "there is no target tabel-ssa-mt: legal are .*; type table-ssa-mt"),
        (["table-ssa-mt", "profile=cpus"], "profile=cpus: legal values are smoke, cpu, paper; type profile=cpu"),
        (["table-ssa-mt", "train=yes"], "train=yes: legal values are true, false"),
        (["table-ssa-mt", "status"], "status: a table takes key=value alone"),
        (
            ["table-ssa-lm", "status=true"],
            r"status=true: is for the sweep; type python train.py \+sweeps=ssa-lm status=true",
        ),
        (["table-ssa-lm", "run_dir=x"], "run_dir=x: belongs to one run"),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(UserError, match=words):
        parse(arguments)


def test_a_mistyped_key_of_a_run_is_told_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        main(["table-fsn-code", "profile=smoke", f"output={tmp_path}", "trainer.max_stesp=3"])


def test_rows_that_cannot_be_run_yet_stand_as_not_run(tmp_path, capsys):
    assert main(["table-ssa-mt", f"output={tmp_path}"]) == 0
    text = (tmp_path / "ssa-mt.md").read_text()
    assert "WMT-14 English-German, osn" in text and text.count("| not run | translation data") == 2
    assert "## What is claimed" in text and "28.9" in text
    assert text in capsys.readouterr().out


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """`smoke(target)`: its document in the smoke profile, on the standard library, with what is there already used."""
    folder = tmp_path_factory.mktemp("smoke")

    def run(target):
        settings = ["profile=smoke", f"output={folder}", f"runs={folder / 'runs'}"]
        assert main([target, *settings]) == 0
        return (folder / f"{target.partition('-')[2]}.md").read_text()

    return run


# One test, so that targets with the same runs find each other's, and in the order in which they do.
@pytest.mark.timeout(900)
def test_smoke_of_every_target(smoke, capsys):
    texts = {target: smoke(target) for target in sorted(targets(), key=lambda target: target.endswith("scale"))}
    for target, text in texts.items():
        assert "stdlib" in text or target in ("table-ssa-mt", "table-ssa-cost"), target
        assert "missing" not in text and ("not run" not in text or target in ("table-ssa-mt", "table-ssa-lm")), text
    assert "transformer_minus" not in texts["table-fsn-enwik8"]
    assert "## stdlib, smoke, profile smoke: difference to transformer" in texts["table-fsn-enwik8"]
    assert "| 16+" in texts["figure-copy-depth"] and "layer" in texts["figure-coupling"]
    assert texts["table-fsn-ablation"].count("one seed") == 7
    said = capsys.readouterr().out
    assert said.count("its record is there") == 0 and said.count("done before") > 10
