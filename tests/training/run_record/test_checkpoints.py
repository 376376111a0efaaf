import os
import pickle
import shutil
import zipfile

import pytest
import torch

from configs.errors import UserError
from training.run_record.checkpoints import DamagedError, load_model, newest_whole, read_checkpoint, set_aside_damaged


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
    with pytest.raises(UserError, match="not a checkpoint of this project: it holds objects other than") as error:
        load_model(tmp_path / "trap.ckpt")
    assert "weights_only" not in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_model_are_refused(tmp_path, uninterrupted):
    content = torch.load(uninterrupted() / "checkpoints" / "last.ckpt", weights_only=True)
    content["config"]["model"]["n_layers"] = 3
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="weights of another model") as error:
        load_model(tmp_path / "other.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("config", "model", "width"), 2_000_000, "holds the weights of another model"),
        (("config", "model", "n_layers"), 10**12, "holds the weights of another model"),
        (("config", "model", "ff_width"), 10**12, "holds the weights of another model"),
        (("vocabulary_size",), 10**12, "holds the weights of another model"),
        (("vocabulary_size",), 10**400, "its vocabulary is impossible"),
        (("vocabulary_size",), "256", "is not a checkpoint of this project"),
        (("global_step",), -1, "its step or its vocabulary is impossible"),
        (
            ("state_dict", "model.embedding.weight"),
            torch.full((256, 32), float("nan")),
            "embedding.weight is not finite",
        ),
        (("state_dict", "model.embedding.weight"), [1.0], "its weights are no tensors"),
        (("state_dict", "model.embedding.weight"), torch.zeros(3, 3), "embedding.weight is (3, 3) there and (256, 32)"),
        (("state_dict", 3), torch.zeros(3), "its weights are no tensors"),
    ],
)
def test_impossible_content_is_one_line_and_takes_no_memory(place, value, says, tmp_path, uninterrupted):
    content = part = torch.load(uninterrupted() / "checkpoints" / "last.ckpt", weights_only=True)
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(UserError) as error:
        load_model(tmp_path / "odd.ckpt")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(DamagedError, match="it is compressed"):
        read_checkpoint(tmp_path / "bomb.ckpt")


def test_what_is_not_proven_to_be_damage_is_left_alone(run_dir, monkeypatch):
    before = sorted(path.name for path in (run_dir / "checkpoints").iterdir())

    def fails(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(UserError, match=r"cannot read .*last.ckpt: can't start new thread; it is left as it is"):
        set_aside_damaged(run_dir)
    with pytest.raises(UserError, match="cannot read"):
        newest_whole(run_dir)
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == before
