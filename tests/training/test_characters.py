"""Runs on characters: the vocabulary is the text's; record and checkpoints have it, and `eval.py` reads it there."""

import json
import math
import shutil
from unittest import mock

import pytest
import torch

from configs.compose import compose, config_hash
from configs.errors import UserError
from configs.schema import MODELS, EvaluationConfig, EvaluationDataConfig
from data.sources import open_corpus
from results.evaluate.tasks import copy_depth, loss, synchrony, write_text
from training.budget import resolve_shape
from training.build import build_model, parameters_by_part
from training.run import run
from training.run_record.checkpoints import read_checkpoint
from training.run_record.record import load_record
from training.run_record.trained_run import open_run
from training.sweeps.swept_run import resolved

SHORT = ("data=text27", "trainer.max_steps=12", "trainer.log_every=3")
LETTERS = " abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def letters_run(uninterrupted, tmp_path):
    """A copy, which a test may change, of a run on the letters of the tiny run's text."""
    return shutil.copytree(uninterrupted(*SHORT), tmp_path / "copy")


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_trains_on_letters(model, make_config):
    record = run(make_config(*SHORT, f"model={model}"))
    assert record.data.tokenizer["name"] == "characters" and record.data.tokenizer["characters"] == LETTERS
    assert record.data.tokenizer["vocabulary_size"] == 27 and record.data.tokenizer["sha256"] is None
    assert record.data.tokens == record.data.bytes
    assert abs(record.parameters["total"] - 50_000) <= 250 and "without_tables" not in record.parameters
    for row in record.metrics:
        assert row["bits_per_byte"] == pytest.approx(row["nats"] / math.log(2), rel=1e-12)
    assert record.rows("train")[0]["nats"] == pytest.approx(math.log(27), rel=0.25)


def test_any_corpus_of_bytes_can_be_read_so(make_config, tmp_path, text_file):
    record = run(make_config("data.tokenizer=characters", "trainer.max_steps=4"))
    characters = record.data.tokenizer["characters"]
    assert characters == "".join(sorted(set(text_file.read_text()))) and "\n" in characters
    content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert (content["characters"], content["vocabulary_size"]) == (characters, len(characters))
    assert load_record(tmp_path / "run").data == record.data
    assert not (tmp_path / "run" / "tokenizer.json").exists()


def test_a_run_on_bytes_says_nothing_of_characters(make_config, tmp_path):
    assert "characters" not in run(make_config("trainer.max_steps=4")).data.tokenizer
    assert "characters" not in read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_evaluations_read_the_vocabulary_of_the_run(letters_run, capsys):
    def asked(task, **keys):
        return EvaluationConfig(run=str(letters_run), task=task, split="validation", **keys)

    loss(asked("loss"))
    copy_depth(asked("copy_depth"))
    synchrony(asked("synchrony"), figure=False)
    record = load_record(letters_run)
    of_loss, of_depth, of_heads = record.evaluations
    assert of_loss["bits_per_byte"] == pytest.approx(record.final["bits_per_byte"], abs=1e-6)
    assert of_depth["bytes"] == record.data.bytes["validation"]
    assert of_heads["task"] == "synchrony"
    capsys.readouterr()
    with mock.patch("sys.stdout.reconfigure", create=True):
        write_text(asked("sample", prompt="the phase", length=20))
        written = capsys.readouterr().out
        assert written.startswith("the phase") and len(written) == len("the phase") + 20 + 1
        assert set(written[:-1]) <= set(LETTERS)
        write_text(asked("sample", length=5))
        assert len(capsys.readouterr().out) == 6
        for prompt, named in (("The phase", "'T'"), ("café", "'é'"), ("a\nb", r"'\\n'")):
            with pytest.raises(UserError, match=f"{named} is none of the 27 characters") as caught:
                write_text(asked("sample", prompt=prompt))
            assert "\n" not in str(caught.value)
            assert capsys.readouterr().out == ""


def test_a_stopped_run_goes_on(make_config, same_weights, uninterrupted, tmp_path):
    whole = uninterrupted(*SHORT, "trainer.val_every=8")
    with mock.patch("training.loop.Loop._validate", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        run(make_config(*SHORT, "trainer.val_every=8"))
    run(make_config(*SHORT, "trainer.val_every=8"))
    same_weights(tmp_path / "run", whole)


def test_a_record_with_other_characters_than_its_checkpoint_is_refused(letters_run):
    path = letters_run / "record.json"
    record = json.loads(path.read_text())
    for characters in (LETTERS[::-1], None):
        record["data"]["tokenizer"] |= {"characters": characters}
        if characters is None:
            del record["data"]["tokenizer"]["characters"]
        path.write_text(json.dumps(record))
        with pytest.raises(UserError, match="differ in the characters of the vocabulary"):
            open_run(str(letters_run))


def test_a_text_that_has_changed_is_named(make_config, tmp_path, text_file):
    moved = tmp_path / "moved.txt"
    moved.write_bytes(text_file.read_bytes())
    config = make_config(*SHORT, f"data.path={moved}")
    run(config)
    moved.write_bytes(text_file.read_bytes()[::-1])
    with pytest.raises(UserError, match="has changed since the run"):
        open_run(str(tmp_path / "run")).corpus(EvaluationDataConfig(path=str(moved)))
    assert (
        open_run(str(tmp_path / "run")).corpus(EvaluationDataConfig()).sha256
        == load_record(tmp_path / "run").data.sha256
    )
    with pytest.raises(UserError, match="has changed since the run"):
        run(config)
    found = open_run(str(tmp_path / "run")).corpus(EvaluationDataConfig(path=str(text_file)))
    assert found.vocabulary_size == 27


@pytest.mark.parametrize("model", MODELS)
def test_100k_is_100_000_parameters_over_27_characters(model):
    config = resolved([f"model={model}", "scale=100k", "data=text27", "data.path=no-such-file.txt"])
    with torch.device("meta"):
        parts = parameters_by_part(build_model(config.model, 27))
    assert abs(parts["total"] - 100_000) <= 500
    assert (config.model.n_layers, config.model.width) == (3, 64 if model == "kuramoto" else 48)
    assert config.optim.lr == config.model.tuned["100k"].lr
    assert 1.5 <= config.model.ff_width / config.model.width <= 4.5
    on_bytes = resolve_shape(compose("train", [f"model={model}", "scale=100k"]), 256)
    assert on_bytes.model.ff_width < config.model.ff_width


def test_a_sweep_gives_a_run_the_directory_that_training_gives_it(make_config, overrides):
    for more in (["data=text27"], ["data.tokenizer=characters"]):
        config = make_config(*more)
        trained = resolve_shape(config, open_corpus(config.data).vocabulary_size)
        assert config_hash(resolved([*overrides, *more])) == config_hash(trained)
        assert config_hash(trained) != config_hash(resolved(overrides))
