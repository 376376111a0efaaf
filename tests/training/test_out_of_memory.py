"""Out of memory is one line that names what took it and what to lower, whoever says so and however."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from training.out_of_memory import OutOfMemory, is_out_of_memory, of_benchmark, of_evaluation
from training.run import run
from training.run_record.checkpoints import DamagedError, newest_whole, read_checkpoint
from training.run_record.record import load_record
from training.step import TrainingModule
from training.validation import Validation

ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4194304 bytes. Error code 12 (Cannot allocate memory)"
)
SHORT = [
    pytest.param(RuntimeError(ALLOCATOR), id="cpu"),
    pytest.param(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), id="windows"),
    pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), id="cuda"),
    pytest.param(MemoryError(), id="python"),
    pytest.param(OSError(12, "Cannot allocate memory"), id="system"),
]

PROJECT = Path(__file__).parents[2]


def raising(error):
    def call(*_, **__):
        raise error

    return call


@pytest.mark.parametrize("error", SHORT)
def test_a_step_that_runs_out_is_one_line_and_a_failed_record(error, make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingModule, "training_step", raising(error))
    with pytest.raises(OutOfMemory) as failed:
        run(make_config("trainer.micro_batch_size=4"))
    assert failed.value.exit_code == 1
    assert str(failed.value) == (
        "out of memory: model=transformer at scale=smoke, batch_size=8 in passes of 4, data.context=16; type "
        "trainer.micro_batch_size=2, the same batch in smaller passes"
    )
    record = load_record(tmp_path / "run")
    assert record.status == "failed" and record.error == str(failed.value)


def test_what_is_advised_is_what_helps(make_config, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", raising(MemoryError()))
        with pytest.raises(OutOfMemory, match=r"passes of 1, data.context=16; type data.context=8 or a smaller scale"):
            run(make_config("trainer.micro_batch_size=1"))
    monkeypatch.setattr(Validation, "row", raising(MemoryError()))  # no key makes its passes smaller
    with pytest.raises(OutOfMemory, match=r"out of memory in a validation: .* type data.context=8 or a smaller scale"):
        run(make_config("trainer.val_every=2", f"run_dir={tmp_path / 'other'}"))


def test_evaluations_and_benchmarks_name_their_own_keys():
    asked = compose("eval", ["run=RUN", "task=loss", "batch_size=6"])
    assert of_evaluation(asked) == "out of memory: run=RUN task=loss, batch_size=6; type batch_size=3"
    asked = compose("eval", ["run=RUN", "task=translate", "batch_size=1", "beam=4"])
    assert of_evaluation(asked).endswith("batch_size=1 beam=4; type beam=2")
    assert "batch_size=16 context=256; type batch_size=8" in of_benchmark(compose("bench", []))
    asked = compose("bench", ["task=layers", "lengths=[64,128]"])
    assert of_benchmark(asked).endswith("lengths up to 128; type lengths=[64]")


def test_other_errors_stay_what_they_are():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(OSError(28, "No space left on device"))


def test_a_checkpoint_that_short_memory_cannot_read_stays_where_it_is(
    make_config, tmp_path, monkeypatch, uninterrupted, same_weights
):
    folder = tmp_path / "run" / "checkpoints"
    with monkeypatch.context() as patch:
        step = TrainingModule.training_step
        patch.setattr(
            TrainingModule,
            "training_step",
            lambda self, *rest: step(self, *rest) if self.trainer.global_step < 15 else 1 / 0,
        )
        with pytest.raises(ZeroDivisionError):
            run(make_config())
    files = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path.name for path in files} == {"last.ckpt", "previous.ckpt"}
    with monkeypatch.context() as patch:
        for each in SHORT:
            patch.setattr(torch, "load", raising(each.values[0]))
            with pytest.raises(OutOfMemory):
                newest_whole(tmp_path / "run")
        with pytest.raises(UserError, match=r"too little memory is free to read .*\.ckpt.*it is left as it is"):
            run(make_config())
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    run(make_config())
    same_weights(tmp_path / "run", uninterrupted())


# A process of its own: in this one, memory that other tests freed would serve what must not fit.
SHORT_OF_MEMORY = """
import os, resource, sys
from pathlib import Path
from configs.compose import compose
from training.run import run
from training.run_record.checkpoints import read_checkpoint

extra, what, *arguments = sys.argv[1:]
config = compose("train", arguments) if what == "run" else None
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * os.sysconf("SC_PAGE_SIZE") + int(extra)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    run(config) if what == "run" else read_checkpoint(Path(*arguments))
    said = "no error"
except BaseException as error:
    said = f"{type(error).__name__}: {error}"
print(said)
"""


def in_a_process_with(extra_bytes, *act):
    """The error of `run ARGUMENTS` or `read FILE` in a process that may take so many more bytes of addresses."""
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(extra_bytes), *map(str, act)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to know how much this process has")
def test_memory_that_is_really_short(make_config, overrides, tmp_path):
    text = tmp_path / "long.txt"
    text.write_bytes(b"the phase of an oscillator drifts and locks " * 8000)
    said = in_a_process_with(200_000_000, "run", *overrides, f"data.path={text}", "data.context=1024", "batch_size=128")
    assert said.startswith("OutOfMemory: out of memory: model=transformer") and "micro_batch_size=64" in said, said
    assert load_record(tmp_path / "run").status == "failed"

    run(make_config("trainer.max_steps=8", "overwrite=true"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    torch.save(read_checkpoint(last) | {"more": torch.zeros(50_000_000)}, last)
    said = in_a_process_with(100_000_000, "read", last)
    assert said.startswith("OutOfMemory: too little memory is free to read"), said
    assert newest_whole(tmp_path / "run") == last and not issubclass(OutOfMemory, DamagedError)
