"""A run with task=translation: its loss, its record, resume and averaged checkpoints, and what eval.py translates."""

import io
import math
import os
import signal
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configs.compose import compose
from configs.errors import UserError
from data.number_words import number_pairs
from data.parallel import open_parallel
from data.translation import TranslationData
from data.translation_batches import encode_source
from data.windows import IGNORE
from measures.beam_search import beam_search
from measures.translation_loss import translation_loss
from results.evaluate.tasks import translate
from training.benchmarks.translation import Uncached
from training.loop import Loop
from training.plan import make_plan
from training.run import run
from training.run_record.checkpoints import read_checkpoint
from training.run_record.record import load_record
from training.run_record.trained_run import open_run
from training.tasks import translation_data

SETTINGS = (
    *("task=translation", "data=multi30k", "scale=smoke", "data.vocabulary=300", "data.batch_tokens=400"),
    *("optim.warmup_steps=5", "trainer.max_epochs=2", "trainer.log_every=4", "trainer.checkpoint_every=5"),
    *("trainer.threads=1", "trainer.progress=false", "logger=none"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Parallel text in the files of Multi30k: sentences about numbers."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, split, n in (("train", "train", 120), ("val", "validation", 30), ("test_2016_flickr", "test", 12)):
        pairs = [pair for pair, _ in zip(number_pairs(split), range(n), strict=False)]
        for language, side in (("en", 0), ("de", 1)):
            (folder / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    return folder


@pytest.fixture
def config(tmp_path, folder, cache_dir):
    places = [f"data.path={folder}", f"data.cache_dir={cache_dir}", f"run_dir={tmp_path / 'run'}"]
    return lambda *more: compose("train", [*SETTINGS, *places, *more])


@pytest.fixture
def evaluate(tmp_path):
    return lambda *more: translate(compose("eval", [f"run={tmp_path / 'run'}", "task=translate", "device=cpu", *more]))


def test_the_record(config, tmp_path, capsys):
    run(config("model=transformer"))
    record = load_record(tmp_path / "run")
    assert record.status == "done" and record.config["task"] == "translation"
    assert record.data.source["pairs"] == {"train": 120, "validation": 30, "test": 12}
    assert record.data.tokenizer["vocabulary_size"] == 300 and len(record.data.tokenizer["sha256"]) == 64
    assert abs(record.parameters["without_tables"] - 50_000) < 250, "the budget is about what is in no table"
    assert (record.config["model"]["dropout"], record.config["optim"]["label_smoothing"]) == (0.1, 0.1)
    rows = record.rows("validation")
    assert [row["epoch"] for row in rows] == [1.0, 2.0]
    corpus = open_parallel(config().data)
    for row in rows:
        assert row["pairs"] == 30 and row["bytes"] == corpus.bytes_per_split()["validation"]
        assert row["targets"] == corpus.tokens_per_split()["validation"]
        assert row["bits_per_byte"] == pytest.approx(row["nats"] * row["targets"] / row["bytes"] / math.log(2))
    assert rows[-1]["tokens"] == 2 * corpus.tokens_per_split()["train"], "every target once an epoch"
    assert rows[-1]["nats"] < rows[0]["nats"] < math.log(300)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("epoch-*"))
    assert kept == ["epoch-001.ckpt", "epoch-002.ckpt"], "the last epochs are kept for their average"
    out = capsys.readouterr().out
    assert "en into de, 120 pairs" in out and "300 tokens of bpe for both languages" in out
    assert f"{rows[-1]['nats']:.4f} nats per token of 30 translations" in out


@pytest.mark.parametrize("model", ["transformer", "kuramoto", "fsn", "fsn_native", "osn"])
def test_a_stopped_run_ends_with_the_same_bits(model, config, same_weights, tmp_path):
    whole = tmp_path / "whole"
    more = (f"model={model}", "trainer.max_epochs=1")
    run(config(*more, f"run_dir={whole}"))
    with mock.patch.object(Loop, "_validate", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        run(config(*more, "trainer.val_every=3"))
    content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt") if _has_checkpoint(tmp_path) else None
    assert content is None or content["global_step"] < load_record(whole).final["step"]
    run(config(*more, "trainer.val_every=3"))
    same_weights(tmp_path / "run", whole)


def _has_checkpoint(tmp_path):
    return (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_a_signal_and_the_same_command(config, same_weights, tmp_path):
    whole = tmp_path / "whole"
    run(config(f"run_dir={whole}"))
    row = Loop._validate

    def stop_in_the_first(self, *arguments, **more):
        row(self, *arguments, **more)
        os.kill(os.getpid(), signal.SIGINT)

    from training.signals import Interrupted

    with mock.patch.object(Loop, "_validate", stop_in_the_first), pytest.raises(Interrupted):
        run(config())
    assert load_record(tmp_path / "run").status == "interrupted"
    run(config())
    same_weights(tmp_path / "run", whole)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_smoothed_labels_are_torchs_and_the_loss_that_is_told_is_not_smoothed(smoothing, config):
    plan = make_plan(config("model=transformer", f"optim.label_smoothing={smoothing}", "model.dropout=0.0"))
    module = plan.task.module(plan.model, plan.config.optim, plan.total_steps)
    batch = plan.data.batch(0, 0, 1, 0)
    objective, nats = module.objective(batch)
    logits = plan.model(batch.source, batch.inputs, batch.source_mask).flatten(0, 1)
    for ours, eps in ((objective, smoothing), (nats, 0.0)):
        theirs = F.cross_entropy(
            logits, batch.targets.flatten(), ignore_index=IGNORE, reduction="sum", label_smoothing=eps
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)
    assert objective.requires_grad and not nats.requires_grad


def parallel(plan):
    assert isinstance(plan.data, TranslationData)
    return plan.data.parallel


def test_the_loss_is_that_of_single_pairs(config):
    """One pair at a time, unpadded, from the text."""
    plan = make_plan(config("model=osn"))
    corpus = parallel(plan)
    pairs, tokenizer = corpus.pairs("test"), corpus.tokenizer
    result = translation_loss(plan.model, pairs)
    total = targets = 0
    plan.model.eval()
    encoded = [tokenizer.encode_sentences(corpus.source("test")), tokenizer.encode_sentences(corpus.target("test"))]
    for source, target in zip(*encoded, strict=True):
        wanted = torch.tensor([*target, tokenizer.eos])
        logits = plan.model(torch.tensor([[*source, tokenizer.eos]]), torch.tensor([[tokenizer.eos, *target]]))
        total += F.cross_entropy(logits[0], wanted, reduction="sum").item()
        targets += len(wanted)
    assert result.targets == targets and result.pairs == 12 == result.blocks
    assert result.nats == pytest.approx(total / targets, rel=1e-5)
    assert result.bytes == sum(len(line.encode()) + 1 for line in corpus.target("test"))


def test_ranks_share_the_pairs(config, monkeypatch):
    plan = make_plan(config("model=transformer"))
    monkeypatch.setattr("measures.translation_loss.EVALUATED_TOKENS", 150)
    pairs = parallel(plan).pairs("validation")
    whole = translation_loss(plan.model, pairs)
    sums = []
    with mock.patch("torch.distributed.all_reduce", side_effect=lambda x: sums.append(x.clone())):
        parts = [translation_loss(plan.model, pairs, rank=rank, world_size=3) for rank in range(3)]
    assert sum(part.targets for part in parts) == whole.targets and all(part.targets for part in parts)
    total = sum(sums)
    assert float(total[0].sum() / total[1].sum()) == pytest.approx(whole.nats, rel=1e-6)


def test_eval_translates_the_test_split_and_scores_it(config, evaluate, tmp_path, capsys):
    import sacrebleu

    run(config("model=transformer", "trainer.max_epochs=3"))
    capsys.readouterr()
    evaluate("beam=2")
    out = capsys.readouterr().out
    lines = (tmp_path / "run" / "translations-test-last.de").read_text().splitlines()
    corpus = open_parallel(config().data)
    (entry,) = load_record(tmp_path / "run").evaluations
    assert len(lines) == entry["sentences"] == 12
    assert entry["bleu"] == pytest.approx(sacrebleu.corpus_bleu(lines, [corpus.target("test")]).score)
    assert f"BLEU            {entry['bleu']:.2f}" in out and entry["bleu_signature"] in out
    assert (entry["split"], entry["test"], entry["beam"], entry["length_penalty"]) == ("test", "test", 2, 0.6)
    assert entry["text_sha256"] == corpus.splits_sha256["test"]
    text = (tmp_path / "run" / "translations-test-last.txt").read_text()
    for number in (0, 11):
        assert f"en   {corpus.source('test')[number]}\nref  {corpus.target('test')[number]}\nde   " in text


def test_a_difference_to_another_run(config, evaluate, tmp_path, capsys):
    other = tmp_path / "other"
    run(config("model=transformer", "trainer.max_epochs=1", f"run_dir={other}"))
    run(config("model=transformer", "trainer.max_epochs=4"))
    for ours in (["beam=1"], ["beam=2"]):
        with pytest.raises(UserError, match="has not translated this text in this way: evaluate it first"):
            evaluate(*ours, f"baseline={other}")
        evaluate("beam=1", f"run={other}")
    capsys.readouterr()
    evaluate("beam=1", f"baseline={other}")
    first, second = load_record(other).evaluations[0]["bleu"], load_record(tmp_path / "run").evaluations[-1]["bleu"]
    assert f"minus baseline  {second - first:+.2f} BLEU, p = " in capsys.readouterr().out
    entry = load_record(tmp_path / "run").evaluations[-1]
    assert entry["baseline"] == load_record(other).config_hash and 0 < entry["p"] <= 1
    assert entry["bleu_difference"] == pytest.approx(second - first)
    (other / "translations-test-last.de").write_text("eine Zeile\n" * 12)
    with pytest.raises(
        UserError, match=r"translations-test-last\.de is not what .* has in its record; evaluate it again"
    ):
        evaluate("beam=1", f"baseline={other}")


def test_lines_are_translated_in_their_order(config, evaluate, tmp_path, capsys, monkeypatch):
    run(config("model=fsn"))
    sentences = [source for source, _ in zip(open_parallel(config().data).source("test"), range(5), strict=False)]
    lines = [*sentences[:2], "", *sentences[2:], "zwölf 🦊"]
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(lines))
    capsys.readouterr()
    monkeypatch.setattr("sys.stdout.reconfigure", lambda **_: None, raising=False)
    evaluate(f"input={file}", "batch_size=3", "beam=3")
    together = capsys.readouterr().out.splitlines()
    assert len(together) == len(lines) and together[2] == ""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines[:2]).encode())))
    evaluate("input=-", "beam=3", "n_best=2", "scores=true")
    best = capsys.readouterr().out.splitlines()
    assert len(best) == 4
    assert [line.partition("\t")[2] for line in best[::2]] == together[:2]
    scores = [float(line.partition("\t")[0]) for line in best]
    assert scores[0] >= scores[1] and scores[2] >= scores[3]


@pytest.mark.parametrize("model", ["transformer", "osn", "fsn"])
def test_the_cached_search_is_the_uncached_one_and_one_beam_is_greedy(model, config):
    plan = make_plan(config(f"model={model}"))
    translator = plan.model.double().eval()
    source, mask = encode_source(
        parallel(plan).tokenizer, open_parallel(config().data).source("test")[:4], plan.data.context
    )

    arguments = (source, mask, parallel(plan).tokenizer.eos)
    cached, uncached = (
        beam_search(searched, *arguments, beam=3, more_tokens=4) for searched in (translator, Uncached(translator))
    )
    for ours, theirs in zip(cached, uncached, strict=True):
        assert [one.tokens for one in ours] == [one.tokens for one in theirs]
        np.testing.assert_allclose([one.score for one in ours], [one.score for one in theirs], rtol=1e-9)
    eos = parallel(plan).tokenizer.eos
    for row, (one,) in enumerate(beam_search(translator, *arguments, beam=1, more_tokens=4)):
        tokens = [eos]
        while len(tokens) <= len(one.tokens):
            logits = translator(source[row : row + 1], torch.tensor([tokens]), mask[row : row + 1])
            tokens.append(int(logits[0, -1].argmax()))
        assert tuple(tokens[1:]) == one.tokens


def test_averaged_weights_are_the_mean_of_the_last_epochs(config, tmp_path):
    run(config("model=transformer", "trainer.max_epochs=7"))
    folder = tmp_path / "run"
    kept = sorted(path.name for path in (folder / "checkpoints").glob("epoch-*.ckpt"))
    assert kept == [f"epoch-00{n}.ckpt" for n in range(3, 8)]
    for n in (5, 2):
        averaged = open_run(str(folder), "average", "cpu", average=n)
        assert str(averaged.checkpoint) == f"average of epoch-00{8 - n}.ckpt to epoch-007.ckpt"
        assert averaged.step == load_record(folder).final["step"]
        states = [read_checkpoint(folder / "checkpoints" / name)["state_dict"] for name in kept[-n:]]
        for name, value in averaged.model.state_dict().items():
            mean = torch.stack([state[f"model.{name}"].double() for state in states]).mean(0)
            torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-7)
    with pytest.raises(
        UserError, match="checkpoints of the last 5 epochs, and checkpoint=average takes 6: type average=5"
    ):
        open_run(str(folder), "average", "cpu", average=6)
    (folder / "checkpoints" / "epoch-006.ckpt").unlink()
    with pytest.raises(UserError, match="checkpoints of the last 1 epoch, and checkpoint=average takes 2"):
        open_run(str(folder), "average", "cpu", average=2)
    (folder / "checkpoints" / "epoch-007.ckpt").unlink()
    for n in (3, 4, 5):
        (folder / "checkpoints" / f"epoch-00{n}.ckpt").unlink()
    with pytest.raises(UserError, match="of the last 0 epochs, and checkpoint=average takes 5: type checkpoint=last"):
        open_run(str(folder), "average", "cpu")


def test_another_tokenizer_or_text_is_refused(config, evaluate, folder, tmp_path):
    run(config("model=transformer", "trainer.max_epochs=1"))
    with pytest.raises(UserError, match=r"data\.vocabulary is 300 there and 310 here"):
        run(config("model=transformer", "trainer.max_epochs=1", "data.vocabulary=310"))
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    lines = (other / "test_2016_flickr.de").read_text().splitlines()
    (other / "test_2016_flickr.de").write_text("\n".join([*lines[:-1], "Etwas anderes."]))
    with pytest.raises(UserError, match="the test split of multi30k has changed since the run"):
        evaluate(f"data.path={other}")
    for language in ("en", "de"):
        (other / f"newer.{language}").write_bytes((folder / f"val.{language}").read_bytes())
    evaluate(f"data.path={other}", "data.test=newer", "beam=1")
    (entry,) = load_record(tmp_path / "run").evaluations
    assert (entry["test"], entry["sentences"]) == ("newer", 30)
    file = tmp_path / "run" / "tokenizer.json"
    file.write_text(file.read_text().replace('"<eos>"', '"<end>"'))
    with pytest.raises(UserError, match=r"tokenizer.*<eos>|not the tokenizer that the run was trained with"):
        evaluate()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["n_best=5"], "n_best=5 is more than beam=4 finds; type beam=5 too"),
        (["n_best=2"], r"n_best= and scores= are of lines that are translated: type input=FILE or input=- too"),
        (["input=x", "split=train"], "split= is of a split with references, and input= is text without"),
        (["data.test=newer", "split=validation"], "data.test=newer is for split=test: leave out split=validation"),
        (["beam=1", "length_penalty=1"], "length_penalty= changes nothing with beam=1, which is greedy"),
        (["data.test=sub/test"], "data.test=sub/test: takes letters, digits"),
        (["average=3"], "average=3 changes nothing here: type checkpoint=average too"),
        (["task=loss", "beam=2"], "beam= changes nothing with task=loss; leave it out, or type task=translate"),
    ],
)
def test_a_mistake_in_what_is_asked(more, words):
    with pytest.raises(UserError, match=words):
        compose("eval", ["run=somewhere", *(["task=translate"] if "task=loss" not in more else []), *more])


def test_a_translation_run_has_other_tasks_refused(config, tmp_path):
    run(config("model=transformer", "trainer.max_epochs=1"))
    opened = open_run(str(tmp_path / "run"), device="cpu")
    with pytest.raises(UserError, match="translates sentences: type task=translate"):
        opened.tokenizer  # noqa: B018
    assert translation_data(config("model=transformer")).steps_per_epoch == load_record(tmp_path / "run").final["step"]


def test_a_plan_tells_what_a_run_takes(config, capsys):
    run(config("model=osn", "plan=true", "trainer.max_epochs=10"))
    out = capsys.readouterr().out
    plan = make_plan(config("model=osn", "trainer.max_epochs=10"))
    tokens = 10 * parallel(plan).tokens_per_split()["train"]
    assert f"operations  {tokens * plan.record.flops_per_token:.3g} in all" in out
    assert "GPU hours" in out and "memory" in out and "activations" in out
    assert f"weights {4 * plan.record.parameters['total'] / 2**20:,.1f} MiB" in out
