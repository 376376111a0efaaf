"""A disk that is really full, and one that may only be read: a small file system, mounted for the test."""

import os
import subprocess

import pytest

from configs.errors import UserError
from training.meter import Meter
from training.run import run
from training.run_record.checkpoints import newest_whole, read_checkpoint
from training.run_record.record import load_record


@pytest.fixture
def disk(tmp_path):
    """Calls mount with options for a small disk at `tmp_path`/disk, where there is one from the start: 1.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if os.geteuid() or not mount("size=1500k"):
        pytest.skip("mounting a small file system is for root, and is not allowed here")
    yield lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", str(place)], check=True)


def after_step(monkeypatch, step, act):
    measure = Meter.measure

    def measure_and_act(self, trainer, *rest):
        if trainer.global_step == step:
            act()
        return measure(self, trainer, *rest)

    monkeypatch.setattr(Meter, "measure", measure_and_act)


def test_a_disk_that_is_full_while_a_checkpoint_is_written(disk, make_config, tmp_path, uninterrupted, same_weights):
    folder = tmp_path / "disk" / "run"  # a checkpoint takes 600 kB: there is room for two, and the third is written
    config = make_config(f"run_dir={folder}")
    with pytest.raises(UserError, match=r"cannot write .*new.tmp: No space left on device; the last whole") as error:
        run(config)
    assert "\n" not in str(error.value)
    assert read_checkpoint(newest_whole(folder))["global_step"] == 14
    with pytest.raises(UserError, match="No space left on device"):
        run(config)  # still full: nothing is lost by trying
    assert read_checkpoint(newest_whole(folder))["global_step"] == 14
    assert disk("size=10m")
    run(config)
    same_weights(folder, uninterrupted())


def test_a_disk_that_is_full_while_rows_are_written(
    disk, make_config, tmp_path, monkeypatch, uninterrupted, same_weights
):
    folder, filler = tmp_path / "disk" / "run", tmp_path / "disk" / "filler"
    config = make_config(f"run_dir={folder}", "trainer.log_every=1", "trainer.checkpoint_every=15")

    def fill():
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b" " * 4096)

    with monkeypatch.context() as patch:
        after_step(patch, 17, fill)
        with pytest.raises(UserError, match=r"cannot write .*metrics.jsonl: No space left on device; the last whole"):
            run(config)
    filler.unlink()
    assert disk("size=10m")
    run(config)
    same_weights(folder, uninterrupted())
    assert [row["step"] for row in load_record(folder).rows("train")] == list(range(1, 31))


def test_a_disk_that_may_only_be_read(disk, make_config, tmp_path):
    folder = tmp_path / "disk" / "run"
    short = make_config(f"run_dir={folder}", "trainer.max_steps=5")
    assert disk("ro")
    with pytest.raises(UserError, match=r"cannot write .*run.*: Read-only file system"):
        run(short)
    assert disk("rw")
    done = run(short)
    assert disk("ro")
    longer = make_config(f"run_dir={folder}", "overwrite=true")
    with pytest.raises(UserError, match="Read-only file system"):
        run(longer)
    assert load_record(folder) == done


def test_a_full_disk_under_the_files_of_the_mirror_changes_nothing(
    disk, make_config, tmp_path, capfd, uninterrupted, same_weights
):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / "wandb").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "filler").write_bytes(bytes(1_400_000))
    assert disk("size=1400k")
    run(make_config("logger=wandb", "logger.timeout=60"))
    assert load_record(folder).status == "done"
    assert capfd.readouterr().err.count("the W&B mirror stopped") <= 1
    same_weights(folder, uninterrupted())
