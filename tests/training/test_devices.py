"""Numbers do not depend on the number of devices: processes on this CPU train as one does, and go on with each
other's runs. Dropout is the exception: each process draws its own.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.compose import EPOCHS_OF_PRESETS, compose, config_dict, config_hash
from configs.groups import options
from data.sources import open_corpus
from measures.loss import evaluate
from training.run import run
from training.run_record.record import load_record
from training.run_record.run_directory import differing_keys, run_directory
from training.run_record.trained_run import open_run

ROOT = Path(__file__).parents[2]
STEPS, CUT = 20, 7
WITH = ["trainer.log_every=3", f"trainer.checkpoint_every={CUT}", f"trainer.max_steps={STEPS}", "trainer.threads=1"]
RECALL = ["task=recall", "data=repeat6", "data.context=16", "batch_size=8", "data.lengths=[]", "data.strings=13"]
NUMBERS = ["task=translation", "data=numbers", "data.batch_tokens=96", "model.dropout=0"]


def together(world: int, runs: list[dict]) -> None:
    """Train runs one after another in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, environment = Path(__file__).with_name("one_of_several.py"), {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), str(rank), str(world), str(port), json.dumps(runs)],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        errors = [process.communicate()[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * world, "\n".join(errors)
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def cases(tmp_path_factory, text_file, cache_dir):
    """By name, the overrides of a run; a model of each kind, a task of each, with parts of a batch and without."""
    text = ["data=text", f"data.path={text_file}", "data.split=[0.8,0.1,0.1]", f"data.cache_dir={cache_dir}"]
    text += ["data.context=16", "batch_size=8"]
    numbers = [*NUMBERS, f"data.cache_dir={cache_dir}"]
    of = {
        "transformer, language": [*text, "model=transformer"],
        "fsn, language in parts": [*text, "model=fsn", "trainer.micro_batch_size=2"],
        "osn, recall": [*RECALL, "model=osn", "trainer.max_steps=10"],
        "transformer, translation in parts": [*numbers, "model=transformer", "data.micro_batches=2"],
    }
    common = [*WITH, "scale=smoke", "optim.lr=0.005", "optim.warmup_steps=5", "trainer=cpu", "trainer.max_epochs=null"]
    common += ["trainer.progress=false", "logger=none"]
    return {name: [*common, *overrides] for name, overrides in of.items()}


@pytest.fixture(scope="module")
def alone(cases, tmp_path_factory):
    """By name, the directory of a run in one process, cut into two parts for all that go on with it."""
    folders = {}
    for name, overrides in cases.items():
        folders[name] = tmp_path_factory.mktemp("alone")
        run(compose("train", [*overrides, f"run_dir={folders[name]}"]))
    return folders


SHARDED = ("fsn, language in parts", "transformer, translation in parts")


@pytest.fixture(scope="module")
def two(cases, alone, tmp_path_factory):
    """By (name, strategy, where it went on from), the directory of a run in two processes; all in one start."""
    asked = [(name, "ddp", None) for name in cases] + [(name, "fsdp", None) for name in SHARDED]
    asked += [("fsn, language in parts", "ddp", "alone"), ("fsn, language in parts", "fsdp", "alone")]
    return started(2, asked, cases, {"alone": alone}, tmp_path_factory)


@pytest.fixture(scope="module")
def four(cases, two, tmp_path_factory):
    """The same in four processes."""
    of_two = {name: two[name, "fsdp", None] for name in SHARDED}
    asked = [("transformer, language", "fsdp", None), (SHARDED[0], "ddp", "two")]
    return started(4, asked, cases, {"two": of_two}, tmp_path_factory)


def started(world, asked, cases, earlier, tmp_path_factory):
    folders, runs = {}, []
    for name, strategy, before in asked:
        folders[name, strategy, before] = folder = tmp_path_factory.mktemp("together")
        checkpoint = before and str(earlier[before][name] / "checkpoints" / "previous.ckpt")
        runs.append({"overrides": [*cases[name], f"run_dir={folder}"], "strategy": strategy, "checkpoint": checkpoint})
    together(world, runs)
    return folders


def assert_same(folder: Path, expected: Path, after: int = 0) -> None:
    """The rows after a step are alike, up to rounding in float32."""
    ours, theirs = ([row for row in load_record(path).metrics if row["step"] > after] for path in (folder, expected))
    assert len(ours) == len(theirs) >= 3
    for row, other in zip(ours, theirs, strict=True):
        for counted in ("step", "split", "tokens", "targets", "bytes", "pairs", "strings"):
            assert row.get(counted) == other.get(counted)
        for measured in ("nats", "bits_per_byte", "standard_error", "lr", "accuracy"):
            assert (row.get(measured) is None) == (other.get(measured) is None)
            assert abs((row.get(measured) or 0) - (other.get(measured) or 0)) < 1e-5, (measured, row, other)
        assert row.get("grad_norm", 0) == pytest.approx(other.get("grad_norm", 0), rel=1e-4)


def test_processes_log_what_one_logs(alone, two, four):
    for of_many in (two, four):
        for (name, _, before), folder in of_many.items():
            assert_same(folder, alone[name], after=14 if before else 0)


def test_a_checkpoint_of_parts_is_that_of_one_device(alone, two):
    for name in SHARDED:
        ours, theirs = (
            torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
            for path in (two[name, "fsdp", None], alone[name])
        )
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        for key, value in theirs["state_dict"].items():
            torch.testing.assert_close(ours["state_dict"][key], value, atol=2e-3, rtol=0)
        (state,), (expected,) = ours["optimizer_states"], theirs["optimizer_states"]
        assert [group["params"] for group in state["param_groups"]] == [g["params"] for g in expected["param_groups"]]
        for number, moments in expected["state"].items():
            for key, value in moments.items():
                torch.testing.assert_close(state["state"][number][key], value, atol=1e-3, rtol=0)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_device_goes_on_with_a_run_of_two(strategy, cases, alone, two, tmp_path, capsys):
    name = SHARDED[0]
    folder = tmp_path / "run"
    shutil.copytree(two[name, strategy, None], folder)
    (folder / "checkpoints" / "previous.ckpt").replace(folder / "checkpoints" / "last.ckpt")
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"status": "interrupted", "final": None}))

    # On another machine, with another preset and in other parts.
    more = ["trainer=gpu", "trainer.accelerator=cpu", "trainer.max_epochs=null", *WITH, "trainer.threads=null"]
    run(compose("train", [*cases[name], *more, "trainer.micro_batch_size=4", f"run_dir={folder}"]))
    said = capsys.readouterr()
    assert "resuming from step 14 of 20" in said.out and "device.count is 2 there and 1 here" in said.err
    assert_same(folder, alone[name])
    record = load_record(folder)
    assert record.device.count == 1 and [part["device"]["count"] for part in record.earlier] == [2]
    assert record.earlier[0]["parts"]["micro_batch_size"] == 2


def test_a_run_of_several_devices_is_evaluated_as_it_was_validated(two):
    for strategy in ("ddp", "fsdp"):
        trained = open_run(two[SHARDED[0], strategy, None])
        split = open_corpus(trained.config.data).split("validation")
        assert evaluate(trained.model, split, 16).nats == pytest.approx(trained.record.final["nats"], abs=1e-6)


def test_where_it_is_computed_makes_no_other_run(tmp_path):
    there = [["trainer=gpu"], ["trainer=ddp", "trainer.devices=4"], ["trainer=fsdp", "trainer.micro_batch_size=2"]]
    there += [["trainer.max_epochs=30", "trainer.threads=3"]]
    configs = [compose("train", ["trainer.max_epochs=30", f"runs={tmp_path}", *one]) for one in there]
    assert len({config_hash(config) for config in configs}) == 1
    assert not any(differing_keys(config_dict(config), config_dict(configs[-1])) for config in configs)

    folder = run_directory(configs[0])
    former = tmp_path / f"{folder.name.rpartition('-')[0]}-{config_hash(configs[0], of_machine=True)}"
    former.mkdir()
    (former / "record.json").touch()
    assert former != folder and run_directory(configs[0]) == former, "a directory by older code is found"
    folder.mkdir()
    (folder / "record.json").touch()
    assert run_directory(configs[0]) == folder


def test_epochs_of_a_preset_make_no_other_run_where_steps_are_typed(tmp_path):
    """`trainer=cpu` brings one epoch and the others 30: a run is found by whichever it goes on with."""
    presets = [
        compose("train", ["trainer.max_steps=9", f"runs={tmp_path}", f"trainer={name}"]) for name in options("trainer")
    ]
    assert {config.trainer.max_epochs for config in presets} == set(EPOCHS_OF_PRESETS)
    configs = [*presets, compose("train", ["trainer.max_steps=9", "trainer.max_epochs=null", f"runs={tmp_path}"])]
    for began in configs:
        folder = tmp_path / f"fsn-{began.scale.name}-{began.data.name}-seed0-{config_hash(began)}"
        folder.mkdir(exist_ok=True)
        (folder / "record.json").touch()
        for config in configs:
            assert run_directory(config) == folder and not differing_keys(config_dict(began), config_dict(config))
        (folder / "record.json").unlink()
    by_epochs = [config_dict(compose("train", [f"trainer={name}"])) for name in ("cpu", "gpu")]
    assert differing_keys(*by_epochs) == "trainer.max_epochs is 1 there and 30 here"


@pytest.mark.parametrize("name", ["transformer, language", "osn, recall", "transformer, translation in parts"])
def test_a_plan_is_of_any_number_of_devices(name, cases, capsys):
    """Also of devices that are not here."""
    batch = "data.batch_tokens=8192" if "translation" in name else "batch_size=64"
    asked = [*cases[name], "scale=1m", "plan=true", batch]
    said = {}
    for trainer in (["trainer=gpu"], ["trainer=ddp", "trainer.devices=4"], ["trainer=fsdp", "trainer.devices=4"]):
        record = run(compose("train", [*asked, *trainer]))
        said[trainer[0]] = capsys.readouterr().out
    whole = record.parameters["total"] * 4
    assert f"weights {whole / 2**20:,.1f} MiB" in said["trainer=gpu"]
    assert f"weights {whole / 2**20:,.1f} MiB" in said["trainer=ddp"]
    assert f"weights {whole / 4 / 2**20:,.1f} MiB" in said["trainer=fsdp"]
    assert "hours on 4 of them" in said["trainer=ddp"] and "hours on" not in said["trainer=gpu"]
    assert "4 cuda, not on this machine" in said["trainer=ddp"]
    activations = [float(re.search(r"activations ([\d.]+) MiB", text)[1]) for text in said.values()]
    assert activations[0] / activations[1] == pytest.approx(4, rel=0.3) and activations[1] == activations[2]
