"""A whole run in this process: what it leaves on the disk, and what the same command does afterwards."""

import json
import math
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml

from configs.compose import resolve
from configs.errors import UserError
from configs.schema import MODELS
from data.language import LanguageData
from measures.loss import evaluate
from training.announce import CORE
from training.plan import make_plan
from training.run import make_trainer, run
from training.run_record.checkpoints import load_model
from training.run_record.record import load_record
from training.run_record.run_directory import claimed, run_directory

ROOT = Path(__file__).parents[2]


def test_a_run_leaves_a_complete_record_and_says_so_when_started_again(make_config, tmp_path, capsys):
    folder = tmp_path / "run"
    config = make_config("trainer.val_every=15", "trainer.val_bytes=100", "trainer.checkpoint_epochs=[1]")
    run(config)

    record = load_record(folder)
    assert (record.status, record.error, record.seed) == ("done", None, 0)
    assert record.data.bytes == {"train": 2552, "validation": 319, "test": 319}
    assert record.data.source["overlap"] == {"share": 0.0, "length": 64, "stride": 1}
    assert record.parameters["total"] == pytest.approx(50_000, rel=0.005)
    assert record.flops_per_token > 6 * 40_000
    assert record.versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (record.device.kind, record.device.threads) == ("cpu", 1)
    assert record.throughput.tokens_per_second > 0 and record.peak_memory_bytes > 10_000_000
    assert record.config["model"]["ff_width"] > 0, "the record holds the solved shape"
    assert str(tmp_path) not in (folder / "record.json").read_text(), "no absolute path"

    train, validation = record.rows("train"), record.rows("validation")
    assert [row["step"] for row in train] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert [row["step"] for row in validation] == [15, 20, 30], "val_every, the epoch's end, the last step"
    assert [row["bytes"] for row in validation] == [100, 100, 319], "the last one takes the whole split"
    assert record.final == validation[-1]
    assert train[4]["epoch"] == 1.0 and train[4]["tokens"] == 2552, "an epoch is every byte once"
    for row in record.metrics:
        assert row["bits_per_byte"] == pytest.approx(row["nats"] / math.log(2))
    assert train[-1]["nats"] < train[0]["nats"] - 0.5
    assert train[-1]["lr"] == pytest.approx(0.0005)
    assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == record.metrics
    assert (
        resolve(yaml.safe_load((folder / "config.yaml").read_text())).model.ff_width
        == record.config["model"]["ff_width"]
    )
    assert {path.name for path in folder.glob("checkpoints/*")} == {"last.ckpt", "previous.ckpt", "epoch-001.ckpt"}

    model, saved_config = load_model(folder / "checkpoints" / "last.ckpt")
    assert not model.training and saved_config["scale"]["name"] == "smoke"
    data = make_plan(config).data
    assert isinstance(data, LanguageData)
    again = evaluate(model, data.corpus.split("validation"), context=16)
    assert again.bits_per_byte == pytest.approx(record.final["bits_per_byte"], abs=1e-9)

    before = (folder / "record.json").read_bytes()
    capsys.readouterr()
    run(config)
    said = capsys.readouterr().out
    assert "already finished" in said and str(folder) in said and f"{record.final['bits_per_byte']:.4f}" in said
    assert (folder / "record.json").read_bytes() == before


def test_overwrite_moves_the_old_run_aside_and_starts_over(make_config, tmp_path):
    config = make_config("trainer.max_steps=3")
    first = run(config)
    (tmp_path / "run" / "mine.txt").write_text("kept")
    run(make_config("trainer.max_steps=3", "overwrite=true"))
    run(make_config("trainer.max_steps=2", "overwrite=true"))
    assert load_record(tmp_path / "run-old-1").final == first.final
    assert (tmp_path / "run-old-1" / "mine.txt").exists()
    assert load_record(tmp_path / "run-old-2").final["step"] == 3
    assert load_record(tmp_path / "run").final["step"] == 2


def test_plan_prints_what_would_be_run_and_writes_nothing(make_config, tmp_path, capsys):
    record = run(make_config("plan=true"))
    said = capsys.readouterr().out
    sizes = ["{train:,} bytes of training", "{validation:,} of validation", "{test:,} of test"]
    facts = [size.format(**record.data.bytes) for size in sizes]
    for fact in ("transformer", f"{record.parameters['total']:,}", "30 steps", str(tmp_path / "run"), *facts):
        assert fact in said
    assert "0.0% of the 64-byte strings of validation occur in training\n" in said
    assert not (tmp_path / "run").exists()
    run(make_config("plan=true", "trainer.max_steps=1", "optim.warmup_steps=40"))
    said = capsys.readouterr().out
    assert "1 step of 8 x 16 tokens" in said and "40 steps of warm-up (as long as the run or longer: type for" in said


def test_the_speed_of_a_core_in_a_plan_is_that_of_the_benchmark(make_config, capsys):
    bench = json.loads((ROOT / "results" / "records" / "bench" / "cpu-1m.json").read_text())
    assert bench["config"]["threads"] == 1
    speeds = []
    for timing in bench["timings"]:
        config = make_config(f"model={timing['model']}", "scale=1m", f"data.context={bench['config']['context']}")
        speeds.append(make_plan(config).record.flops_per_token * timing["tokens_per_second"])
    assert min(speeds) < CORE < max(speeds)
    for more, shown in (("scale=1m", True), ("trainer=gpu", False)):
        run(make_config("plan=true", more))
        assert ("CPU hours" in capsys.readouterr().out) is shown


def test_the_hashed_directory_follows_the_config(make_config, tmp_path):
    folders = {run_directory(make_config("run_dir=null", f"runs={tmp_path}", more)) for more in ("seed=0", "seed=1")}
    assert len(folders) == 2
    assert all(path.parent == tmp_path and path.name.startswith("transformer-smoke-text-seed") for path in folders)


def test_another_config_in_the_same_directory_names_what_differs(make_config):
    run(make_config("trainer.max_steps=2"))
    with pytest.raises(UserError, match=r"seed is 0 there and 1 here"):
        run(make_config("trainer.max_steps=2", "seed=1"))
    # How often a run is saved changes nothing in its result.
    run(make_config("trainer.max_steps=2", "trainer.checkpoint_every=1"))


def test_data_that_changed_since_the_run_began_is_refused(make_config, tmp_path, text_file):
    mine = tmp_path / "mine.txt"
    mine.write_bytes(text_file.read_bytes())
    config = make_config(f"data.path={mine}", "trainer.max_steps=2")
    run(config)
    mine.write_bytes(text_file.read_bytes().replace(b"phase", b"PHASE"))
    with pytest.raises(UserError, match=r"text .* has changed since the run in .* began"):
        run(config)


def test_a_directory_in_use_is_refused(make_config, tmp_path):
    with claimed(tmp_path / "run", overwrite=False), pytest.raises(UserError, match="another process is using"):
        run(make_config("overwrite=true"))


def test_a_directory_in_use_by_another_process_is_refused(make_config, tmp_path):
    code = (
        "import sys; from pathlib import Path; from training.run_record.run_directory import claimed\n"
        f"with claimed(Path({str(tmp_path / 'run')!r}), overwrite=False): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is using"):
            run(make_config())
        assert not (tmp_path / "run" / "record.json").exists()
        holder.kill()
    run(make_config("trainer.max_steps=2"))  # a lock dies with its process


def test_slurm_tasks_do_not_decide_the_processes_of_a_run(make_config, monkeypatch):
    # What a job script with --ntasks-per-node=4 sets; Lightning, when it sees it, refuses two devices.
    names = ("NTASKS", "NTASKS_PER_NODE", "PROCID", "LOCALID", "NODEID")
    for name, value in zip(names, (4, 4, 0, 0, 0), strict=True):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    config = make_config("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert make_trainer(make_plan(config), L.Callback()).world_size == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.accelerator=cuda", "no CUDA device"),
        ("data.context=400", "longer than the validation split"),
        ("trainer.max_steps=null", "trainer.max_epochs"),
    ],
)
def test_what_cannot_run_is_one_line_and_leaves_no_directory(make_config, tmp_path, monkeypatch, override, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message) as error:
        run(make_config(override))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_micro_batches_change_the_loss_by_rounding_only(make_config, tmp_path):
    whole = run(make_config("trainer.max_steps=24"))
    parts = run(make_config("trainer.max_steps=24", "trainer.micro_batch_size=2", f"run_dir={tmp_path / 'parts'}"))
    assert [row["tokens"] for row in whole.metrics] == [row["tokens"] for row in parts.metrics]
    for a, b in zip(whole.metrics, parts.metrics, strict=True):
        assert a["nats"] == pytest.approx(b["nats"], abs=2e-4)
    first = [record.rows("train")[0] for record in (whole, parts)]
    assert first[0]["grad_norm"] == pytest.approx(first[1]["grad_norm"], rel=1e-4)


def test_validating_does_not_change_the_training(make_config, tmp_path, uninterrupted, same_weights):
    run(make_config("trainer.val_every=3", "trainer.val_bytes=50"))
    same_weights(tmp_path / "run", uninterrupted())


@pytest.mark.parametrize("model", sorted(MODELS))
def test_bf16_trains_close_to_float32(model, make_config, tmp_path):
    """Closely in the first steps. Later they part as two roundings do, most as pairs lock and unlock: how far depends
    on the processor, for some multiply halves themselves.
    """
    asked = [f"model={model}", "trainer.max_steps=12", "trainer.log_every=1", "optim.embedding_lr=1"]
    full = run(make_config(*asked))
    half = run(make_config(*asked, "precision=bf16", f"run_dir={tmp_path / 'half'}"))
    assert half.final["nats"] != full.final["nats"]
    first = [[row["nats"] for row in record.rows("train")[:5]] for record in (full, half)]
    assert first[1] == pytest.approx(first[0], abs=0.03) and first[0][4] < first[0][0] - 0.5
    assert half.final["nats"] == pytest.approx(full.final["nats"], abs=0.15)


def test_cuda_graphs_are_captured_once_from_a_training_batch(make_config, monkeypatch):
    """Where there is CUDA. On a CPU the key is refused, so the refusal and the capture are taken out here."""
    captured = []
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda model, inputs: captured.append((model, inputs)))
    asked = make_config("trainer.max_steps=4", "trainer.cuda_graphs=true")
    with pytest.raises(UserError, match=r"cuda_graphs=true is for CUDA, and this run is on a CPU; leave it out"):
        run(asked)
    monkeypatch.setattr("training.plan.device_kind", lambda config, place: "cpu")
    record = run(asked)
    assert record.status == "done"
    ((model, (inputs,)),) = captured
    assert sum(parameter.numel() for parameter in model.parameters()) == record.parameters["total"]
    assert inputs.shape == (asked.batch_size, asked.data.context) and inputs.dtype == torch.int64


@pytest.mark.cuda
@pytest.mark.parametrize("model", ["transformer", "fsn", "fsn_native", "kuramoto", "osn"])
def test_cuda_graphs_train_as_the_passes_that_they_replay(model, make_config, tmp_path):
    asked = [f"model={model}", "trainer.max_steps=20", "trainer.accelerator=cuda"]
    plain, graphed = (
        run(make_config(*asked, *more, f"run_dir={tmp_path / name}"))
        for name, more in (("plain", ()), ("graphs", ("trainer.cuda_graphs=true",)))
    )
    assert graphed.final["nats"] == pytest.approx(plain.final["nats"], abs=1e-3)
    assert graphed.final.get("synchrony", {}).keys() == plain.final.get("synchrony", {}).keys()


@pytest.mark.parametrize("model", ["transformer", "fsn", "osn"])
def test_a_compiled_run_saves_plain_weights(model, make_config, tmp_path, monkeypatch):
    """Traced forward and backward, the chunked attention's too, but run without the minutes of code generation."""
    backends = []

    def trace(module, **options):
        backends.append(options)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", trace)
    monkeypatch.setattr("training.plan.require_compiler", lambda device: None)
    asked = [f"model={model}", "trainer.max_steps=6"]
    run(make_config(*asked))
    run(make_config(*asked, "compile=true", f"run_dir={tmp_path / 'compiled'}"))
    assert len(backends) == 1, "the inner model alone is compiled"
    # Traced operations, not the C++ of an eager run: other rounding, and gradients are summed in another order.
    final = [load_record(tmp_path / name).final["nats"] for name in ("run", "compiled")]
    assert final[0] == pytest.approx(final[1], abs=1e-4)
    load_model(tmp_path / "compiled" / "checkpoints" / "last.ckpt")
