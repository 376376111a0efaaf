"""A run with task=recall: what its record and its lines say, and that it goes on where it was cut off."""

import json
import os
import signal

import pytest
import torch
from torch import nn

from configs.compose import compose, config_dict, config_hash
from configs.errors import UserError
from configs.schema import MODELS
from training.meter import Meter
from training.plan import make_plan
from training.run import run
from training.run_record.record import load_record
from training.run_record.wandb_mirror import values_of

SETTINGS = (
    *("task=recall", "data=repeat64", "scale=smoke", "batch_size=8", "data.context=16", "data.lengths=[16,32]"),
    *("data.strings=16", "data.alphabet=8", "optim.warmup_steps=5", "trainer.max_steps=30", "trainer.val_every=10"),
    *("trainer.log_every=4", "trainer.checkpoint_every=7", "trainer.threads=1", "trainer.progress=false"),
    "logger=none",
)


@pytest.fixture
def config(tmp_path):
    return lambda *more: compose("train", [*SETTINGS, f"run_dir={tmp_path / 'run'}", *more])


def test_the_record_has_accuracies_and_no_bits_per_byte(config, tmp_path, capsys):
    run(config("model=fsn", "trainer.progress=true"))
    record = load_record(tmp_path / "run")
    assert record.config["task"] == "recall" and record.data.name == "repeat64" and len(record.data.sha256) == 64
    assert record.data.bytes == {"validation": 0} and record.data.tokenizer["vocabulary_size"] == 8
    assert record.data.source["least_distance"] == 0.5 and record.data.source["alphabet"] == 8
    assert record.parameters["total"] == pytest.approx(50_000, rel=0.005), "all parameters count"
    rows = record.rows("validation")
    assert [row["step"] for row in rows] == [10, 20, 30] and record.rows("train")
    assert not {key for row in record.metrics for key in row} & {"bits_per_byte", "epoch", "bytes"}
    for row in rows:
        assert (row["tokens"], row["context"], row["strings"], row["targets"]) == (row["step"] * 128, 16, 16, 16 * 5)
        assert 0 <= row["accuracy"] <= 1 and row["nats"] > 0 and row["synchrony"]
    assert ["lengths" in row for row in rows] == [False, False, True]
    first, longer = record.final["lengths"]
    assert {key: first[key] for key in ("nats", "accuracy")} == {key: rows[-1][key] for key in ("nats", "accuracy")}
    assert (longer["context"], longer["targets"]) == (32, 16 * 13)
    sent = dict(values_of(record.final))
    assert sent["validation/accuracy_at_32"] == longer["accuracy"] and sent["validation/accuracy"] == first["accuracy"]
    said = capsys.readouterr()
    assert "bits" not in said.out + said.err and "byte" not in said.out + said.err
    assert f"accuracy {first['accuracy']:.4f}, {first['nats']:.4f} nats per scored symbol on 16 strings" in said.out
    assert f"validation {first['nats']:.4f} nats/symbol · accuracy {first['accuracy']:.4f}" in said.err
    run(config("model=fsn"))
    assert "already finished: accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("data", ["repeat6", "mqar", "selective_copying"])
def test_every_model_trains_on_every_kind(config, model, data):
    more = {"mqar": ["data.pairs=2"], "selective_copying": ["data.content=4"]}.get(data, [])
    steps = ["trainer.max_steps=2", "data.alphabet=40" if data == "mqar" else "data.alphabet=6"]
    record = run(config(f"model={model}", f"data={data}", *more, *steps))
    assert record.status == "done" and len(record.final["lengths"]) == 2


def test_the_loss_is_that_of_the_scored_symbols(config):
    """A module whose model knows nothing pays log A a scored symbol, and unscored ones have no gradient."""
    plan = make_plan(config("model=transformer"))
    module = plan.task.module(plan.model, plan.config.optim, 30)
    batch = plan.data.batch(0, 0, 1, 0)
    logits = torch.zeros(8, 16, 8, requires_grad=True)
    module.model = nn.Module()
    module.model.forward = lambda inputs: logits
    nats = module.nats(batch)
    nats.backward()
    assert nats.item() / batch.n_targets == pytest.approx(torch.tensor(8.0).log().item())
    assert ((logits.grad != 0).any(-1) == (batch.targets != -100)).all()


def test_a_killed_run_ends_with_the_same_bits(config, tmp_path, monkeypatch, same_weights):
    whole = run(config("model=transformer", f"run_dir={tmp_path / 'whole'}"))
    measure = Meter.measure

    def measure_and_die(self, trainer, *rest):
        row = measure(self, trainer, *rest)
        if trainer.global_step == 18:
            os.kill(os.getpid(), signal.SIGKILL)
        return row

    if (pid := os.fork()) == 0:
        monkeypatch.setattr(Meter, "measure", measure_and_die)
        try:
            run(config("model=transformer"))
        finally:
            os._exit(99)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    resumed = run(config("model=transformer"))
    same_weights(tmp_path / "whole", tmp_path / "run")
    timed = ("tokens_per_second",)
    rows = [[{k: v for k, v in row.items() if k not in timed} for row in each.metrics] for each in (whole, resumed)]
    assert rows[0] == rows[1]


def test_micro_batches_change_the_loss_by_rounding_only(config, tmp_path):
    whole = run(config("model=fsn"))
    parts = run(config("model=fsn", "trainer.micro_batch_size=2", f"run_dir={tmp_path / 'parts'}"))
    assert [row["tokens"] for row in whole.metrics] == [row["tokens"] for row in parts.metrics]
    for a, b in zip(whole.rows("train"), parts.rows("train"), strict=True):
        assert a["nats"] == pytest.approx(b["nats"], abs=2e-4)


def test_strings_that_are_made_otherwise_are_no_run_to_go_on_with(config, tmp_path, monkeypatch):
    run(config("model=transformer", "trainer.max_steps=2"))
    monkeypatch.setattr("data.strings.STREAM", 1)
    with pytest.raises(UserError, match=r"the data repeat64 \(data/strings.py\) has changed since"):
        run(config("model=transformer", "trainer.max_steps=2"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data=stdlib"], "task=recall recalls strings that are made, and data=stdlib is text: type data=repeat64"),
        (["data=repaet64"], "data=repaet64: legal values are .*; type data=repeat64"),
        (["task=language"], "data=repeat64 is strings for task=recall: type task=recall too"),
        (["trainer.max_steps=null"], "no epochs: type trainer.max_steps=1000"),
        (["trainer.val_bytes=1000"], "trainer.val_bytes changes nothing here: it needs task=language"),
        (["data.pairs=3"], "this data has no key 'data.pairs', which mqar has: leave it out, or type data=mqar"),
        (["data.path=x"], "this data has no key 'data.path', which .* have: leave it out, or type data=text"),
        (["data.context=15"], "data.context=15: a string of 15 symbols has no half"),
        (["data.lengths=[16,33]"], "data.lengths=33: a string of 33"),
        (["data.least_distance=0"], "data.least_distance=0.0: must be above 0 and at most 1"),
        (["data.alphabte=3"], "the nearest is 'data.alphabet'"),
    ],
)
def test_a_mistake_is_one_line(overrides, words):
    settings = [text for text in SETTINGS if text.partition("=")[0] not in {o.partition("=")[0] for o in overrides}]
    text_alone = ("data.context", "data.lengths", "data.strings", "data.alphabet")
    if overrides[0] == "data=stdlib":
        settings = [text for text in settings if not text.startswith(text_alone)]
    with pytest.raises(UserError, match=words) as caught:
        compose("train", [*settings, *overrides])
    assert "\n" not in str(caught.value)


def test_a_config_of_a_language_run_has_the_hash_it_had():
    """Text has the keys that it had, and no key of strings; the hash is that from before there were any."""
    former = [
        "model.local_layers=0",
        "model.copying_layers=0",
        "model.quadratures=2",
        "model.harmonics=2",
        "model.grading=1",
    ]
    config = compose("train", ["model=fsn", *former, "scale=smoke"])
    assert config_hash(config) == "cece7744dd"
    assert set(json.loads(json.dumps(config_dict(config)))["data"]) == {
        *("name", "source", "path", "split", "tokenizer", "vocabulary", "raw", "context", "cache_dir"),
        "as_bytes",
    }
