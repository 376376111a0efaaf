"""Runs whose tokenizer the training split makes: it lies beside the weights, and another one is refused by name."""

import math
import shutil
from unittest import mock

import pytest

from configs.errors import UserError
from configs.schema import MODELS, EvaluationDataConfig
from data.sources import open_corpus
from data.tokenizers import open_tokenizer
from data.windows import IGNORE, evaluation_batches
from measures.loss import evaluate
from training.run import run
from training.run_record.checkpoints import read_checkpoint
from training.run_record.record import load_record
from training.run_record.trained_run import open_run

LINES = " \n = The {0} of = \n \n The {0} of an oscillator drifts , and {1} locks . \n"


@pytest.fixture
def folder(tmp_path):
    """Word-level text in official files."""
    folder = tmp_path / "wikitext"
    folder.mkdir()
    for split, times in (("train", 50), ("valid", 5), ("test", 4)):
        text = "".join(LINES.format(*(("phase", "it") if i % 2 else ("it", "phase"))) for i in range(times))
        (folder / f"wiki.{split}.tokens").write_text(text)
    return folder


@pytest.fixture
def overrides(overrides, folder):
    ours = [f"data.path={folder}", "data=wikitext103", "data.raw=false", "trainer.max_steps=6", "trainer.log_every=3"]
    return [*(item for item in overrides if not item.startswith(("data.split", "data.path", "data=text"))), *ours]


KINDS = [("words",), ("bpe", "data.vocabulary=280")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_belongs_to_the_run_and_its_checkpoints(kind, make_config, tmp_path):
    record = run(make_config(f"data.tokenizer={kind[0]}", *kind[1:]))
    copy = open_tokenizer(str(tmp_path / "run" / "tokenizer.json"))
    told = record.data.tokenizer
    assert (told["name"], told["sha256"], told["vocabulary_size"]) == (kind[0], copy.sha256, copy.vocabulary_size)
    content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert (content["tokens_sha256"], content["vocabulary_size"]) == (told["tokens_sha256"], copy.vocabulary_size)
    assert abs(record.parameters["without_tables"] - 50_000) <= 250, "the budget is about what is in no table"
    opened = open_run(str(tmp_path / "run"))
    assert type(opened.tokenizer) is type(copy) and opened.tokenizer.sha256 == told["sha256"]
    split = opened.corpus(EvaluationDataConfig()).split("validation")
    result = evaluate(opened.model, split, 16, stride=5)
    assert (result.targets, result.bytes) == (len(split), record.data.bytes["validation"]) != (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_another_corpus_tokenizer_is_refused_by_name(kind, make_config, folder, tmp_path):
    config = make_config(f"data.tokenizer={kind[0]}", *kind[1:])
    run(config)
    other = make_config(
        *("data=text", f"data.path={folder / 'wiki.train.tokens'}", "data.raw=true", "data.tokenizer=bpe"),
        *("data.vocabulary=270", f"run_dir={tmp_path / 'other'}"),
    )
    run(other)
    assert (
        load_record(tmp_path / "other").data.tokenizer["sha256"]
        != load_record(tmp_path / "run").data.tokenizer["sha256"]
    )
    shutil.copy(tmp_path / "other" / "tokenizer.json", tmp_path / "run" / "tokenizer.json")
    with pytest.raises(UserError, match=r"run/tokenizer\.json is not the tokenizer that the run was trained with"):
        open_run(str(tmp_path / "run")).corpus(EvaluationDataConfig())
    with pytest.raises(UserError, match=r"run/tokenizer\.json is not the tokenizer that the run was trained with"):
        _ = open_run(str(tmp_path / "run")).tokenizer
    (folder / "wiki.train.tokens").write_text(LINES.format("phase", "it") * 60)
    with pytest.raises(UserError, match=r"data wikitext103 .* has changed since the run"):
        run(config)


def test_a_stopped_run_goes_on_with_the_tokenizer_it_trained(make_config, uninterrupted, same_weights, tmp_path):
    more = ("data.tokenizer=words", "trainer.val_every=4")
    whole = uninterrupted(*more)
    with (
        mock.patch("training.loop.Loop._validate", side_effect=ZeroDivisionError),
        pytest.raises(ZeroDivisionError),
    ):
        run(make_config(*more))
    run(make_config(*more))
    same_weights(tmp_path / "run", whole)
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("kind", [("words", "[4,9]"), ("bpe", "[100,270]", "data.vocabulary=280")])
def test_every_model_trains_on_a_vocabulary_in_bands(model, kind, make_config, tmp_path):
    """And what the run says of itself is found again: the loss, its perplexity per word, the share of the budget."""
    tokenizer, cutoffs, *more = kind
    bands = [f"model.cutoffs={cutoffs}", "model.div_value=2"]
    record = run(make_config(f"model={model}", f"data.tokenizer={tokenizer}", *more, *bands, "optim.lr=0.01"))
    final = record.final
    assert record.config["model"]["cutoffs"] == [int(cutoff) for cutoff in cutoffs.strip("[]").split(",")]
    assert abs(record.parameters["without_tables"] - 50_000) <= 250 and record.parameters["band_maps"] > 0
    assert record.rows("train")[-1]["nats"] < record.rows("train")[0]["nats"]
    opened = open_run(str(tmp_path / "run"))
    assert opened.model.bands is not None
    corpus = opened.corpus(EvaluationDataConfig())
    result = evaluate(opened.model, corpus.split("validation"), 16)
    assert result.nats == pytest.approx(final["nats"], abs=1e-6)
    text = bytes(corpus.text("validation"))
    n_words = len(text.split()) + text.count(b"\n")
    key, other = ("word_perplexity", "word_normalised_perplexity")[:: 1 if tokenizer == "words" else -1]
    assert final["words"] == n_words and other not in final
    assert final[key] == pytest.approx(math.exp(final["nats"] * final["targets"] / n_words), rel=1e-12)
    assert tokenizer != "words" or final["targets"] == n_words
    rows = record.rows("validation")
    assert len(rows) == 3 and load_record(tmp_path / "run").rows("validation") == rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_a_target_once_whatever_the_stride(kind, make_config):
    """Of each split, counted by the place in the text; in order, whole, in batches of three windows."""
    corpus = open_corpus(make_config(f"data.tokenizer={kind[0]}", *kind[1:]).data)
    for name in corpus.splits:
        split = corpus.split(name)
        for stride in (None, 1, 5, 16):
            scored = []
            for batch in evaluation_batches(split, 16, 3, stride=stride):
                here = batch.targets[batch.targets != IGNORE]
                assert (len(here), int(split.bytes_of(here.numpy()).sum())) == (batch.n_targets, batch.n_bytes)
                scored += here.tolist()
            assert scored == split.tokens.tolist()


def test_runs_on_bytes_of_text_without_counted_words_tell_nothing_by_word(make_config, text_file):
    more = ["data=text", f"data.path={text_file}", "data.raw=true", "data.tokenizer=bytes"]
    assert not {"words", "word_normalised_perplexity"} & run(make_config(*more)).final.keys()
