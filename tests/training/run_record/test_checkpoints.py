import os
import pickle
import shutil

import pytest
import torch

from configs.errors import UserError
from training.run_record.checkpoints import load_model, newest_whole, read_checkpoint


@pytest.fixture
def run_dir(uninterrupted, tmp_path):
    """A finished run that may be damaged: last.ckpt at step 30, previous.ckpt at 28."""
    shutil.copytree(uninterrupted(), tmp_path / "copy")
    return tmp_path / "copy"


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def test_the_newest_checkpoint_is_the_one_with_the_most_steps(run_dir):
    folder = run_dir / "checkpoints"
    shutil.copy(folder / "previous.ckpt", folder / "epoch-001.ckpt")
    os.utime(folder / "epoch-001.ckpt")  # written last, yet behind
    assert newest_whole(run_dir) == folder / "last.ckpt"
    assert (
        read_checkpoint(folder / "last.ckpt")["global_step"],
        read_checkpoint(folder / "previous.ckpt")["global_step"],
    ) == (30, 28)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_is_named_and_skipped(run_dir, capsys, share):
    last = run_dir / "checkpoints" / "last.ckpt"
    os.truncate(last, int(last.stat().st_size * share))
    assert newest_whole(run_dir) == run_dir / "checkpoints" / "previous.ckpt"
    assert str(last) in capsys.readouterr().err


def test_a_flipped_byte_is_found_wherever_it_counts(run_dir, capsys):
    last = run_dir / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    sound = read_checkpoint(last)["state_dict"]
    found = 0
    for position in range(100, len(whole), len(whole) // 40):
        flip(last, position)
        try:
            damaged = read_checkpoint(last)["state_dict"]
        except UserError as error:
            found += 1
            assert str(last) in str(error)
        else:  # it hit the padding between the tensors
            assert all(torch.equal(sound[name], damaged[name]) for name in sound)
        last.write_bytes(whole)
    assert found > 30


def test_with_all_checkpoints_damaged_there_is_none(run_dir, capsys):
    for path in (run_dir / "checkpoints").iterdir():
        flip(path, path.stat().st_size // 2)
    assert newest_whole(run_dir) is None
    said = capsys.readouterr().err
    assert "last.ckpt" in said and "previous.ckpt" in said


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    text, pickled, other = tmp_path / "text.ckpt", tmp_path / "pickled.ckpt", tmp_path / "other.ckpt"
    text.write_text("not a checkpoint")
    pickled.write_bytes(pickle.dumps({"state_dict": {}}))
    torch.save({"state_dict": {}}, other)
    for path, reason in (
        (text, "not a checkpoint"),
        (pickled, "not a checkpoint"),
        (other, "not a checkpoint of this project"),
        (tmp_path / "absent.ckpt", "there is no checkpoint at"),
    ):
        with pytest.raises(UserError, match=reason) as error:
            load_model(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_code_in_a_checkpoint_is_not_run(tmp_path, uninterrupted):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    content = torch.load(uninterrupted() / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**content, "trap": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(UserError, match="not a checkpoint"):
        load_model(tmp_path / "trap.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_model_are_refused(tmp_path, uninterrupted):
    content = torch.load(uninterrupted() / "checkpoints" / "last.ckpt", weights_only=True)
    content["config"]["model"]["n_layers"] = 3
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="weights of another model") as error:
        load_model(tmp_path / "other.ckpt")
    assert "\n" not in str(error.value)
