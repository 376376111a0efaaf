"""A target from the command line: what it trains, what it writes, and what it says of mistakes."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs.compose import compose
from configs.errors import UserError
from configs.sweeps import expand
from results import all_tables
from results.evidence.runs import COMMITTED
from results.target import main, parse, targets
from training.run import run
from training.run_record.record import load_record

ROOT = Path(__file__).parents[2]


def test_every_sweep_has_a_target_and_every_target_a_line_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    help_lines = {line.partition(":")[0] for line in makefile.splitlines() if ":" in line and "## " in line}
    assert set(targets()) <= help_lines
    assert {"table-fsn-enwik8", "figure-copy-depth", "figure-coupling", "table-ssa-mt"} <= set(targets())


def test_make_refuses_a_variable_that_it_does_not_know():
    def make(*given):
        return subprocess.run(["make", "-n", "table-ssa-mt", *given], cwd=ROOT, capture_output=True, text=True)

    done = make("PROFLE=smoke")
    assert done.returncode == 2 and "there is no variable PROFLE; legal are PROFILE DATA" in done.stderr
    assert make("PROFILE=smoke", "DATA_PATH=a b=c.txt", "ARGS=seed=0 model.lag=1", "PYTHON=python3").returncode == 0


def test_make_does_not_install_into_the_environment_of_another_checkout(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    asked = ["make", "setup", f"VENV={tmp_path / 'ours'}", f"PYTHON={sys.executable}"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode == 2 and "ours is a link" in done.stderr and f"VENV={tmp_path / 'theirs'} setup" in done.stderr
    )
    assert not list((tmp_path / "theirs").iterdir())


def test_make_passes_values_on_as_they_are_typed(tmp_path, monkeypatch):
    """No shell runs what is in them; ARGS alone are words of a shell, where they are typed."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    (tmp_path / "venv" / "installed").touch()
    for name in ("ARGS", "PROFILE", "DATA", "DATA_PATH", "DATA_NAME", "HOURS", "DRY"):
        monkeypatch.setenv(name, "from=elsewhere")

    def make(*given, target="table-ssa-mt", skipped=3):
        command = ["make", "-s", target, f"VENV={tmp_path / 'venv'}", *given]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()[skipped:]

    evil = f"a b\"; touch {tmp_path / 'run'}; $$(touch {tmp_path / 'run'}) `touch {tmp_path / 'run'}` 'x' #"
    given = {"PROFILE": "profile", "DATA": "data", "DATA_PATH": "data.path", "DATA_NAME": "data.name"}
    limited = {"HOURS": "hours", "DRY": "dry"}
    arguments = make(*(f"{name}={evil}" for name in given))
    assert arguments == [f"{key}={evil}" for key in given.values()]
    arguments = make(*(f"{name}={evil}" for name in limited), target="gpu", skipped=2)
    assert arguments == [f"{key}={evil}" for key in limited.values()]
    assert make("ARGS=seed=0 runs='a b'") == ["seed=0", "runs=a b"]
    assert not (tmp_path / "run").exists()
    assert make() == []


def test_all_tables_are_made_though_one_is_not_whole_and_one_cannot_be_made(monkeypatch, capsys):
    def make(arguments):
        made.extend(arguments)
        if arguments == ["table-ssa-mt"]:
            raise UserError("these runs cannot share a table")
        return int(arguments == ["table-ssa-lm"])

    made = []
    monkeypatch.setattr(all_tables.target, "main", make)
    monkeypatch.setattr(all_tables.claims, "main", lambda arguments: made.append("claims"))
    assert all_tables.main() != 0
    assert made == [*targets(), "claims"]
    assert capsys.readouterr().err == "error: these runs cannot share a table\n"


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
        (["table-learning-rates", "sweeper=optuna"], "sweeper=optuna: nothing is searched without a profile"),
        (
            ["table-learning-rates", "profile=cpu", "train=false", "sweeper=optuna"],
            "nothing is searched with train=false",
        ),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(UserError, match=words):
        parse(arguments)


def test_a_folder_of_runs_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*rusn with runs; type another runs=FOLDER"):
        main(["table-fsn-code", f"runs={tmp_path / 'rusn'}", f"output={tmp_path}"])


@pytest.mark.parametrize(
    ("typed", "override"),
    [
        ("data.path=a b's (1).txt", r"data.path='a b\'s (1).txt'"),
        ("data.path='a b.txt'", "data.path='a b.txt'"),  # as Hydra has it
        ("data.path=one.txt,two.txt", "data.path=one.txt,two.txt"),  # two corpora, unless a file is called so
        ("data.name=a,b", "data.name='a,b'"),
        ("optim.lr=0.1,0.2", "optim.lr=0.1,0.2"),
    ],
)
def test_paths_and_names_are_taken_as_they_are_typed(typed, override):
    assert parse(["table-fsn-enwik8", typed]).overrides == [override]


@pytest.mark.parametrize(
    ("arguments", "folder", "sources"),
    [
        ([], "docs/tables", [COMMITTED]),  # what every reader has
        (["runs=mine"], "runs/tables/recorded", [Path("mine"), COMMITTED]),
        (["seed=7"], "runs/tables/recorded", [Path("runs"), COMMITTED]),
        (["profile=cpu"], "runs/tables/cpu", [Path("runs"), COMMITTED]),
        (["profile=smoke", "data=stdlib"], "runs/tables/smoke", [Path("runs"), COMMITTED]),
        (["profile=cpu", "output=here"], "here", [Path("runs"), COMMITTED]),
    ],
)
def test_own_runs_do_not_get_into_what_is_made_of_committed_records(arguments, folder, sources):
    asked = parse(["table-fsn-enwik8", *arguments])
    assert (asked.folder, asked.sources) == (Path(folder), sources)


def test_numbers_say_what_they_are_of_and_how_they_are_made(tmp_path):
    main(["table-fsn-enwik8", f"output={tmp_path}"])
    text = (tmp_path / "fsn-enwik8.md").read_text()
    assert "+sweeps=fsn-enwik8 profile=cpu data=text data.path=FILE data.name=enwiki2015`" in text
    header, first = (tmp_path / "fsn-enwik8-1.csv").read_text().splitlines()[:2]
    assert header.startswith("corpus,sha256,profile,scale,setting,") and ",cpu,250k," in first
    with pytest.raises(UserError, match="legal are"):
        main(["table-fsn-enwik9"])
    main(["table-fsn-enwik8", f"output={tmp_path}", "data=stdlib"])
    own = (tmp_path / "fsn-enwik8-on-stdlib.md").read_text()
    assert "## stdlib, 250k, profile cpu" in own and "## enwiki2015" not in own
    assert (tmp_path / "fsn-enwik8.md").read_text() == text


def test_each_learning_rate_typed_is_a_table_of_its_own(tmp_path):
    main(["table-fsn-enwik8", f"output={tmp_path}", "optim.lr=0.006,0.01", "seed=0"])
    text = (tmp_path / "fsn-enwik8.md").read_text()
    assert "profile cpu, optim.lr=0.006: bits" in text and "profile cpu, optim.lr=0.01: bits" in text


def test_a_mistyped_key_of_a_run_is_told_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        main(["table-fsn-code", "profile=smoke", f"output={tmp_path}", "trainer.max_stesp=3"])


def test_a_table_without_a_record_says_so(tmp_path, capsys):
    assert main(["table-ssa-mt", f"output={tmp_path}"]) == 0
    text = (tmp_path / "ssa-mt.md").read_text()
    assert "| osn " in text and "not run" in text
    assert "## What is claimed" in text and "28.9" in text
    assert text in capsys.readouterr().out


def test_a_table_leaves_a_damaged_record_out_with_a_line_and_exit_code_1(tmp_path, capsys):
    path = tmp_path / "runs" / "one" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text("[" * 100_000)
    assert main(["table-ssa-mt", f"output={tmp_path}", f"runs={tmp_path / 'runs'}"]) == 1
    said = capsys.readouterr()
    assert f"left out, because it cannot be read: cannot read the run record {path}: " in said.err
    assert "| osn " in said.out and (tmp_path / "ssa-mt.md").read_text() in said.out


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
def test_smoke_of_every_target(smoke, capsys, in_this_process):
    texts = {target: smoke(target) for target in sorted(targets(), key=lambda target: target.endswith("scale"))}
    for target, text in texts.items():
        assert "stdlib" in text or target in ("table-ssa-mt", "table-ssa-cost", "table-recall"), target
        assert "missing" not in text and "not run" not in text, text
    assert "## stdlib, smoke, profile smoke: difference to transformer" in texts["table-fsn-enwik8"]
    assert "| repeat64 | repeat6 |" in texts["table-recall"] and "bits per byte" not in texts["table-recall"]
    assert "| 16+" in texts["figure-copy-depth"] and "layer" in texts["figure-coupling"]
    losses, costs = texts["table-fsn-ablation"].split("cost beside loss")
    assert losses.count("one seed") == 13 and costs.count("| transformer ") == 1
    said = capsys.readouterr().out
    assert said.count("its record is there") == 0 and said.count("done before") > 10


@pytest.mark.timeout(900)
def test_make_trains_missing_runs_on_two_devices(tmp_path, text_file, cache_dir):
    """As it is typed. The run that is there, of one device, is not made again; the numbers are those of one device."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "venv" / "installed").touch()
    tiny = ["model=transformer", "seed=0,1", "data.split=[0.8,0.1,0.1]", f"data.cache_dir={cache_dir}"]
    tiny += ["data.context=16", "trainer.max_epochs=null", "trainer.progress=false"]

    def runs(folder):
        typed = [*tiny, "data=text", f"data.path={text_file}", f"runs={folder}"]
        sweep = expand("fsn-enwik8", "smoke", typed)
        return [compose("train", job.overrides) for job in sweep.jobs]

    of_both, alone = runs(tmp_path / "runs"), runs(tmp_path / "alone")
    run(of_both[0])
    expected = run(alone[1])
    devices = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    arguments = shlex.join([*tiny, *devices, f"runs={tmp_path / 'runs'}", f"output={tmp_path / 'tables'}"])
    command = ["make", "-s", "table-fsn-enwik8", f"VENV={tmp_path / 'venv'}", "PROFILE=smoke", "DATA=text"]
    done = subprocess.run(
        [*command, f"DATA_PATH={text_file}", f"ARGS={arguments}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before: ") == 1 and "2 runs: 2 done" in done.stdout
    first, second = (load_record(next((tmp_path / "runs").glob(f"*seed{seed}*"))) for seed in (0, 1))
    assert (first.device.count, second.device.count, expected.device.count) == (1, 2, 1)
    assert second.command.startswith("python -m results.target table-fsn-enwik8 profile=smoke data=text ")
    assert [row["step"] for row in second.metrics] == [row["step"] for row in expected.metrics]
    for ours, theirs in zip(second.metrics, expected.metrics, strict=True):
        assert ours["nats"] == pytest.approx(theirs["nats"], abs=1e-5)
    assert abs(first.final["nats"] - second.final["nats"]) > 1e-3, "those of another run would be seen"
    mean = (first.final["bits_per_byte"] + second.final["bits_per_byte"]) / 2
    assert f"{mean:.4f}" in next((tmp_path / "tables").glob("*.md")).read_text()
