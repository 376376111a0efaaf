"""Runs whose tokens are not bytes: 32,768 tokens, most of them pairs of bytes, on the text of the tiny run."""

import json
import math
from unittest import mock

import pytest

from configs.errors import UserError
from configs.schema import MODELS, EvaluationDataConfig
from measures.loss import evaluate
from training.budget import without_tables
from training.run import run
from training.run_record.record import load_record
from training.run_record.trained_run import open_run


@pytest.fixture
def overrides(overrides, pair_tokenizer):
    return [*overrides, f"data.tokenizer={pair_tokenizer}", "trainer.max_steps=12", "trainer.log_every=3"]


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_trains_and_reports_true_bits_per_byte(model, make_config, tmp_path):
    record = run(make_config(f"model={model}"))
    data, final = record.data, record.final
    assert data.tokenizer["vocabulary_size"] == 32_768 and data.tokenizer["sha256"]
    assert data.bytes == {"train": 2552, "validation": 319, "test": 319}, "those of the run on bytes"
    assert all(data.tokens[name] < data.bytes[name] for name in data.bytes)
    assert (final["bytes"], final["targets"]) == (data.bytes["validation"], data.tokens["validation"])
    assert final["bits_per_byte"] == pytest.approx(
        final["nats"] * final["targets"] / final["bytes"] / math.log(2), rel=1e-12
    )
    # Before anything is learned a token costs log V nats, whatever bytes it stands for.
    first = record.rows("train")[0]
    assert first["nats"] == pytest.approx(math.log(32_768), rel=0.2)
    assert first["bits_per_byte"] == pytest.approx(
        first["nats"] / math.log(2) * data.tokens["train"] / data.bytes["train"], rel=0.05
    )
    assert record.rows("train")[-1]["nats"] < first["nats"] - 1
    # The budget is about what is in no table; the record gives both numbers.
    assert abs(record.parameters["without_tables"] - 50_000) <= 250
    assert record.parameters["without_tables"] == without_tables(record.parameters)
    assert record.parameters["total"] > 1_000_000
    opened = open_run(str(tmp_path / "run"))
    split = opened.corpus(EvaluationDataConfig()).split("validation")
    assert evaluate(opened.model, split, 16).bits_per_byte == pytest.approx(final["bits_per_byte"], abs=1e-6)
    sliding = evaluate(opened.model, split, 16, stride=4)
    assert sliding.bytes == final["bytes"] and sliding.bits_per_byte != final["bits_per_byte"]


def test_the_start_says_tokens_bytes_and_both_counts_of_parameters(make_config, capsys):
    run(make_config("model=fsn", "plan=true"))
    printed = capsys.readouterr().out
    assert "2,552 bytes" in printed and "32,768 tokens of pairs.json" in printed
    assert "without the embedding and readout tables" in printed
    assert "8 x 16 tokens" in printed


def test_a_stopped_run_goes_on_with_its_tokenizer(make_config, same_weights, uninterrupted, tmp_path, pair_tokenizer):
    whole = uninterrupted(f"data.tokenizer={pair_tokenizer}", "trainer.max_steps=12", "trainer.val_every=8")
    with (
        mock.patch("training.loop.Loop._validate", side_effect=ZeroDivisionError),
        pytest.raises(ZeroDivisionError),
    ):
        run(make_config("trainer.val_every=8"))
    run(make_config("trainer.val_every=8"))
    same_weights(tmp_path / "run", whole)
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == pair_tokenizer.read_bytes()


def test_another_tokenizer_of_that_name_is_refused(make_config, tmp_path, pair_tokenizer):
    moved = tmp_path / "tokenizer.json"
    content = json.loads(pair_tokenizer.read_text())
    moved.write_text(json.dumps(content))
    run(make_config(f"data.tokenizer={moved}"))
    content["model"]["merges"] = content["model"]["merges"][:-1]
    moved.write_text(json.dumps(content))
    with pytest.raises(UserError, match="tokenizer"):
        run(make_config(f"data.tokenizer={moved}"))
    assert load_record(tmp_path / "run").status == "done"
    (tmp_path / "run" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="not the tokenizer that the run was trained with"):
        _ = open_run(str(tmp_path / "run")).tokenizer
    with pytest.raises(UserError, match="not the tokenizer that the run was trained with"):
        open_run(str(tmp_path / "run")).corpus(EvaluationDataConfig())
