"""What is in a run directory before a run: nothing foreign is touched, and no progress is thrown away."""

import os
import shutil
import signal

import pytest

from configs.errors import UserError
from training.meter import Meter
from training.processes.group import Group
from training.processes.watch import RankDied
from training.run import make_plan, run
from training.run_record.record import load_record, save_record
from training.run_record.run_directory import run_directory
from training.signals import Interrupted


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"foreign {name}")


def tree(folder):
    """Every name below a folder with its content and the times of its folders."""
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")
    }


FOREIGN = [
    pytest.param(["checkpoints/best.ckpt", "checkpoints/half.tmp", "config.yaml"], id="another trainer's"),
    pytest.param(["checkpoints/last.ckpt", "metrics.jsonl"], id="with our names"),
    pytest.param([".lock", "notes.txt"], id="with a lock"),
    pytest.param([".lock", "checkpoints/best.ckpt"], id="with a lock and a checkpoint"),
    pytest.param(["record.json"], id="with a record of something else"),
    pytest.param([".lock", "record.json", "notes.txt"], id="with a record and a lock"),
    pytest.param(["thesis.tex"], id="documents"),
]


@pytest.mark.parametrize("more", [(), ("overwrite=true",)])
@pytest.mark.parametrize("names", FOREIGN)
def test_a_foreign_folder_is_refused_and_untouched(names, more, make_config, tmp_path):
    fill(tmp_path / "run", names)
    before = tree(tmp_path)
    with pytest.raises(UserError, match="choose another run_dir or an empty folder") as error:
        run(make_config(*more))
    assert "\n" not in str(error.value) and str(tmp_path / "run") in str(error.value)
    assert tree(tmp_path) == before


def test_a_link_to_it_and_a_file_are_refused_too(make_config, tmp_path):
    fill(tmp_path / "elsewhere", ["data.csv"])
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    with pytest.raises(UserError, match="is not empty and holds no run of this project"):
        run(make_config())
    (tmp_path / "run").unlink()
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no folder, and a run needs one"):
        run(make_config())
    (tmp_path / "run").unlink()
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="is no folder, and a run needs one"):
        run(make_config())
    (tmp_path / "run").unlink()
    assert tree(tmp_path) == {path: at for path, at in before.items() if path.name != "run"}


def test_a_foreign_folder_below_runs_is_refused(make_config, tmp_path):
    config = make_config("run_dir=null", f"runs={tmp_path / 'runs'}")
    folder = run_directory(make_plan(config).config)
    assert folder.parent == tmp_path / "runs"
    fill(folder, ["best.ckpt"])
    before = tree(tmp_path)
    with pytest.raises(UserError, match="is not empty and holds no run of this project"):
        run(config)
    assert tree(tmp_path) == before


def test_a_folder_of_ours_may_hold_other_files(make_config, tmp_path, uninterrupted):
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted(), folder)
    (folder / ".lock").unlink()  # as `cp run/*` leaves it
    fill(folder, ["notes.txt", "checkpoints/mine.ckpt", "checkpoints/mine.tmp"])
    assert run(make_config()).status == "done"
    record = load_record(folder)
    record.status, record.final = "running", None
    save_record(record, folder)
    run(make_config())
    for name in ("notes.txt", "checkpoints/mine.ckpt", "checkpoints/mine.tmp"):
        assert (folder / name).read_text() == f"foreign {name}"


@pytest.mark.parametrize(
    "names", [[], ["checkpoints/"], [".lock"], [".lock", "checkpoints/", "config.yaml"], ["failed.txt"]]
)
def test_what_a_run_leaves_before_it_has_a_record_is_ours(names, make_config, tmp_path):
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / name).mkdir() if name.endswith("/") else (tmp_path / "run" / name).touch()
    assert run(make_config("trainer.max_steps=1")).status == "done"


@pytest.fixture
def stopped(make_config, tmp_path, monkeypatch):
    """A run that failed after step 16, its checkpoints of 7 and 14 whole."""
    measure = Meter.measure
    with monkeypatch.context() as patch:
        patch.setattr(
            Meter,
            "measure",
            lambda self, trainer, *rest: 1 / (16 - trainer.global_step) and measure(self, trainer, *rest),
        )
        with pytest.raises(ZeroDivisionError):
            run(make_config())
    return tmp_path / "run"


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_over(stopped, make_config, uninterrupted, same_weights):
    folder = stopped / "checkpoints"
    whole = (folder / "last.ckpt").read_bytes()
    for path in folder.iterdir():
        os.truncate(path, 1000)
    metrics = (stopped / "metrics.jsonl").read_bytes()
    for _ in range(2):  # the second time nothing is left to set aside
        with pytest.raises(UserError, match=r"was at step 12 .*set aside \(last.ckpt.damaged-1, .*say overwrite=true"):
            run(make_config())
        assert (stopped / "metrics.jsonl").read_bytes() == metrics
    (folder / "last.ckpt.damaged-1").write_bytes(whole)  # a false alarm: its user moves it back
    (folder / "last.ckpt.damaged-1").rename(folder / "last.ckpt")
    run(make_config())
    same_weights(stopped, uninterrupted())


def test_a_run_whose_checkpoints_were_removed_does_not_start_over(stopped, make_config, tmp_path):
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(UserError, match=r"was at step 12 .* put its last.ckpt back, or say overwrite=true"):
        run(make_config())
    (stopped / "record.json").unlink()
    with pytest.raises(UserError, match=r"was at step 12 .* put its last.ckpt back, or say overwrite=true"):
        run(make_config())
    assert run(make_config("overwrite=true", "trainer.max_steps=2")).status == "done"
    assert (tmp_path / "run-old-1" / "metrics.jsonl").exists()


def test_rows_that_a_damaged_line_took_come_back_from_the_record(stopped, make_config, uninterrupted, capsys):
    path = stopped / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"\xff" + lines[1][5:]
    path.write_bytes(b"\n".join([*lines[:2], *lines[1:]]))
    record = run(make_config())
    assert f"warning: {path}: line 2, 3 is damaged and left out; 2 of 4 lines whole" in capsys.readouterr().err
    expected = load_record(uninterrupted()).metrics
    assert [(row["step"], row["split"], row["nats"]) for row in record.metrics] == [
        (row["step"], row["split"], row["nats"]) for row in expected
    ]


@pytest.mark.parametrize("ended", [RankDied("rank 1 died: killed by SIGKILL"), Interrupted(signal.SIGTERM)], ids=repr)
def test_a_run_whose_rank_died_before_its_first_checkpoint_begins_again(ended, make_config, tmp_path, monkeypatch):
    """Unlike one that a signal stopped, it has never had one."""
    often = ("trainer.val_every=3", "trainer.checkpoint_every=100", "trainer.max_steps=8")

    def die(*_):
        raise RuntimeError("[gloo] Connection closed by peer")

    with monkeypatch.context() as patch:
        measure = Meter.measure
        patch.setattr(Meter, "measure", lambda *given: die() if given[1].global_step == 5 else measure(*given))
        patch.setattr(Group, "cause", lambda self, error: ended)
        with pytest.raises(type(ended)):
            run(make_config(*often))
    record = load_record(tmp_path / "run")
    assert record.status == "interrupted" and record.throughput.seconds > 0
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert run(make_config(*often)).status == "done"


def test_a_run_that_was_stopped_and_lost_its_checkpoint_does_not_start_over(make_config, tmp_path, monkeypatch):
    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    often = ("trainer.val_every=3", "trainer.checkpoint_every=100", "trainer.max_steps=8")
    with monkeypatch.context() as patch:
        measure = Meter.measure
        patch.setattr(Meter, "measure", lambda *given: (given[1].global_step == 5 and stop(), measure(*given))[1])
        with pytest.raises(Interrupted):
            run(make_config(*often))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError, match=r"was at step 4 .* put its last.ckpt back"):
        run(make_config(*often))


def test_a_resumed_run_whose_rank_died_has_had_a_checkpoint(make_config, tmp_path, monkeypatch):
    often = ("trainer.val_every=3", "trainer.checkpoint_every=100", "trainer.max_steps=8")
    with monkeypatch.context() as patch:
        measure = Meter.measure

        def stop_or_die(*given):
            if given[1].global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            if given[1].global_step == 5:
                raise RuntimeError("[gloo] Connection closed by peer")
            return measure(*given)

        patch.setattr(Meter, "measure", stop_or_die)
        with pytest.raises(Interrupted):
            run(make_config(*often))
        patch.setattr(Group, "cause", lambda self, error: RankDied("rank 1 died: killed by SIGKILL"))
        with pytest.raises(RankDied):
            run(make_config(*often))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError, match="none of its checkpoints is there and whole"):
        run(make_config(*often))
