"""`ssa.backend` reaches the layers, the record says what ran, and what cannot run is one line."""

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from configs.schema import EvaluationDataConfig
from measures.loss import evaluate
from ssa import kernels, pairs
from ssa.backends import BACKENDS
from training.attention_backend import attentions
from training.run import run
from training.run_record.record import load_record
from training.run_record.trained_run import open_run


def test_backends_give_the_same_run_up_to_rounding_and_the_record_names_them(make_config, tmp_path):
    records = {}
    for name in ("auto", "dense"):
        run(
            make_config(
                "model=osn",
                f"ssa.backend={name}",
                "trainer.max_steps=5",
                f"run_dir={tmp_path / name}",
            )
        )
        records[name] = load_record(tmp_path / name)
    auto, dense = records["auto"], records["dense"]
    assert auto.ssa == {"training": "native", "evaluation": "native"}
    assert dense.ssa == {"training": "dense", "evaluation": "dense"}
    assert auto.config_hash != dense.config_hash
    assert auto.final["nats"] == pytest.approx(dense.final["nats"], abs=1e-4)
    trained = open_run(str(tmp_path / "auto"), ssa_backend="dense")
    assert {layer.backend for layer in attentions(trained.model)} == {"dense"}
    context = trained.config.data.context
    split = trained.corpus(EvaluationDataConfig()).split("validation")
    assert evaluate(trained.model, split, context).nats == pytest.approx(auto.final["nats"], abs=1e-5)
    with pytest.raises(
        UserError, match=r"ssa\.backend=flex is for inference on CUDA and cannot run on a CPU; type ssa"
    ):
        open_run(str(tmp_path / "auto"), ssa_backend="flex")


def test_a_transformer_has_none_to_record(make_config, tmp_path):
    run(make_config("model=transformer", "trainer.max_steps=2"))
    assert load_record(tmp_path / "run").ssa == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model=osn", "ssa.backend=flex"), "cannot run on a CPU; type ssa.backend=auto"),
        (("model=osn", "ssa.backend=triton"), "is for CUDA and cannot run on a CPU; type ssa.backend=auto"),
        (("model=fsn", "ssa.backend=dense"), "is for model=osn, and this model has no such layer"),
    ],
)
def test_what_cannot_run_is_one_line(make_config, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(kernels, "INTERPRETED", False)
    with pytest.raises(UserError, match=message) as error:
        run(make_config(*arguments))
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_a_mistyped_backend_names_the_legal_ones():
    with pytest.raises(
        UserError, match=r"legal values are auto, native, chunked, triton, flex, dense; type ssa\.backend=flex"
    ):
        compose("train", ["model=osn", "ssa.backend=flx"])
    for name in BACKENDS:
        compose("eval", ["run=x", f"ssa.backend={name}"])


def test_a_run_large_enough_to_compile_says_so(make_config, monkeypatch, capsys):
    monkeypatch.setattr(pairs, "FEWEST", 1)
    monkeypatch.setattr(pairs, "_compiled", lambda *_: (pairs.EAGER, "compiled"))
    record = run(make_config("model=osn", "ssa.backend=chunked", "trainer.max_steps=2"))
    assert record.ssa["pairs"] == "compiled"
    assert "attention   training chunked, evaluation chunked, pairs compiled\n" in capsys.readouterr().out
