"""`eval.py` on a run that was really trained: its numbers, its text, and one line for each mistake."""

import hashlib
import importlib.util
import json
import lzma
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from measures.loss import evaluate as loss_of
from measures.statistics import half_width
from measures.word_perplexity import shown_perplexity
from results.evidence.stored import stored_evaluation
from training.run import run
from training.run_record.record import load_record
from training.run_record.trained_run import open_run

SETTINGS = (
    "model=transformer",
    "scale=smoke",
    "data=text",
    "data.context=32",
    "batch_size=4",
    "optim.lr=0.01",
    "trainer.max_steps=3",
    "trainer.progress=false",
    "logger=none",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of three steps on a small text, made once."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = folder / "corpus.txt"
    corpus.write_text("".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(400)), encoding="utf-8")
    paths = [f"data.path={corpus}", f"data.cache_dir={folder / 'cache'}", f"run_dir={folder / 'run'}"]
    run(compose("train", [*SETTINGS, *paths]))
    return folder


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """`python eval.py ...` in this process: (exit code, stdout, stderr)."""
    source = Path(__file__).parents[1] / "eval.py"
    spec = importlib.util.spec_from_file_location("eval_command", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["eval.py", *arguments])
        monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
        code = 0
        try:
            module.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_the_final_validation_is_found_again(evaluate, run_dir):
    final = load_record(run_dir).final
    code, out, _ = evaluate(f"run={run_dir}", "split=validation", "batch_size=7")
    assert code == 0
    (entry,) = load_record(run_dir).evaluations
    assert entry["nats"] == pytest.approx(final["nats"], abs=1e-6)
    assert entry["bits_per_byte"] == pytest.approx(final["bits_per_byte"], abs=1e-6)
    assert entry["bytes"] == final["bytes"] == load_record(run_dir).data.bytes["validation"]
    assert (entry["split"], entry["checkpoint"], entry["step"], entry["context"]) == ("validation", "last.ckpt", 3, 32)
    half = half_width(entry["standard_error"], entry["blocks"])
    for shown in (f"{entry['nats']:.6f}", f"{entry['bits_per_byte']:.6f}", f"± {half:.6f} bits per byte"):
        assert shown in out


def test_a_last_validation_on_fewer_bytes_is_named_and_found_again(evaluate, trained, tmp_path):
    paths = [
        f"data.path={trained / 'corpus.txt'}",
        f"data.cache_dir={trained / 'cache'}",
        f"run_dir={tmp_path / 'run'}",
    ]
    final = run(compose("train", [*SETTINGS, *paths, "trainer.last_val_bytes=100"])).final
    _, out, _ = evaluate(f"run={tmp_path / 'run'}", "split=validation")
    assert f"{final['bits_per_byte']:.6f} bits per byte on the first 100 bytes; type max_bytes=100" in out
    _, out, _ = evaluate(f"run={tmp_path / 'run'}", "split=validation", "max_bytes=100")
    assert "in training" not in out
    assert load_record(tmp_path / "run").evaluations[-1]["nats"] == pytest.approx(final["nats"], abs=1e-6)


def test_a_corpus_that_was_moved_is_found_with_data_path(evaluate, trained, run_dir, tmp_path, monkeypatch):
    moved = tmp_path / "moved.txt"
    moved.write_bytes((trained / "corpus.txt").read_bytes())
    config = run_dir / "config.yaml"
    config.write_text(config.read_text().replace(str(trained / "corpus.txt"), "elsewhere/corpus.txt"))
    assert evaluate(f"run={run_dir}")[0] == 0, "it is in the cache, whatever lies elsewhere"
    config.write_text(config.read_text().replace(str(trained / "cache"), str(tmp_path / "no-cache")))
    monkeypatch.setenv("SYNCHRONY_CACHE", str(tmp_path / "ours"))
    code, _, err = evaluate(f"run={run_dir}")
    assert code == 2 and "is not in the cache, and not here as the file that it was trained on" in err
    code, out, _ = evaluate(f"run={run_dir}", f"data.path={moved}")
    assert code == 0 and "bits per byte" in out
    moved.write_text("another text\n" * 1000)
    code, _, err = evaluate(f"run={run_dir}", f"data.path={moved}")
    assert code == 2 and "has changed since the run" in err


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "bytes"])
def test_perplexity_per_word_is_labelled_and_recorded(tokenizer, evaluate, tmp_path):
    for name, lines in (("train", 300), ("valid", 40), ("test", 30)):
        text = "".join(f" = Phase <unk> = \n \n the phase of {i % 7} é drifts \n" for i in range(lines))
        (tmp_path / f"wiki.{name}.tokens").write_text(text, encoding="utf-8")
    settings = [setting for setting in SETTINGS if setting != "data=text"]
    paths = [f"data.path={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    size = ["data.vocabulary=270"] if tokenizer == "bpe" else []
    run(
        compose(
            "train", [*settings, *paths, "data=wikitext103", "data.raw=false", f"data.tokenizer={tokenizer}", *size]
        )
    )
    code, out, _ = evaluate(f"run={tmp_path / 'run'}", "stride=8")
    assert code == 0
    (entry,) = load_record(tmp_path / "run").evaluations
    n_words = 30 * (4 + 1 + 1 + 6 + 1)
    assert entry["words"] == n_words and f"words           {n_words} in that text" in out
    of_words = tokenizer == "words"
    key, other = ("word_perplexity", "word_normalised_perplexity")[:: 1 if of_words else -1]
    assert entry[key] == pytest.approx(math.exp(entry["nats"] * entry["targets"] / n_words), rel=1e-12)
    assert other not in entry
    if of_words:
        assert entry["targets"] == n_words
    label = "per word" if of_words else ", word-normalised: exp(total nats / words)"
    assert f"perplexity      {shown_perplexity(entry[key])}{' ' * of_words}{label}" in out
    evaluate(f"run={tmp_path / 'run'}", "max_bytes=60")
    text = (tmp_path / "wiki.test.tokens").read_bytes()[: load_record(tmp_path / "run").evaluations[1]["bytes"]]
    assert load_record(tmp_path / "run").evaluations[1]["words"] == len(text.split()) + text.count(b"\n")


@pytest.fixture
def packed(tmp_path):
    """A text of another corpus, as a file and its bytes."""
    content = "".join(f" = Other {i} = \n \n Phases lock , é , and drift {i} \n" for i in range(30)).encode()
    path = tmp_path / "wiki.test.raw.xz"
    path.write_bytes(lzma.compress(content))
    return path, content


def test_another_text_is_scored_whole_and_named_in_the_record(evaluate, run_dir, packed):
    path, content = packed
    code, out, _ = evaluate(f"run={run_dir}", f"data.text={path}", "stride=8")
    assert code == 0 and "text            wiki.test.raw.xz" in out and "in training" not in out
    assert "perplexity" not in out, "of bytes, by words that nobody else counted"
    (entry,) = load_record(run_dir).evaluations
    n_words = len(content.split()) + content.count(b"\n")
    assert entry["text"] == {
        "name": "wiki.test.raw.xz",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "words": n_words,
    }
    assert (entry["split"], entry["bytes"], entry["targets"], entry["words"]) == ("text", *[len(content)] * 2, n_words)
    assert entry["bits_per_byte"] == pytest.approx(entry["nats"] / math.log(2), rel=1e-12)
    assert entry["word_normalised_perplexity"] == pytest.approx(math.exp(entry["nats"] * len(content) / n_words))
    opened = open_run(str(run_dir))
    tokens = np.frombuffer(content, np.uint8)
    assert loss_of(opened.model, opened.tokenizer.split(tokens), 32, stride=8).nats == pytest.approx(entry["nats"])

    _, out, _ = evaluate(f"run={run_dir}", f"data.text={path}", "stride=8", "data.words=200")
    assert "word-normalised" in out
    given = load_record(run_dir).evaluations[1]
    assert (given["words"], given["text"]) == (200, entry["text"])
    assert given["word_normalised_perplexity"] == pytest.approx(math.exp(entry["nats"] * len(content) / 200))
    assert str(path.parent) not in json.dumps(given)
    for task in ("copy_depth", "synchrony", "coupling"):  # what tables take is of the run's own validation split
        assert stored_evaluation(load_record(run_dir), task) is None


@pytest.mark.parametrize("asked", [("words", "[5,9]"), ("bpe", "[100,260]")])
def test_tokens_of_another_text_are_those_of_the_run(asked, evaluate, tmp_path, packed):
    """Of words and of subwords, in bands: loss, copy depth and sampling."""
    tokenizer, cutoffs = asked
    for name, lines in (("train", 300), ("valid", 40), ("test", 30)):
        text = "".join(f" = Phase <unk> = \n \n the phase of {i % 7} é drifts \n" for i in range(lines))
        (tmp_path / f"wiki.{name}.tokens").write_text(text, encoding="utf-8")
    settings = [setting for setting in SETTINGS if setting != "data=text"]
    more = [f"data.path={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    more += ["data=wikitext103", "data.raw=false", f"data.tokenizer={tokenizer}", f"model.cutoffs={cutoffs}"]
    record = run(compose("train", [*settings, *more, *(["data.vocabulary=270"] if tokenizer == "bpe" else [])]))
    run_dir, path = tmp_path / "run", packed[0]

    code, out, err = evaluate(f"run={run_dir}", f"data.text={path}")
    if tokenizer == "words":
        assert code == 2 and "is none of the 16 words of the training text" in err
        assert err.count("\n") == 1
        path = tmp_path / "wiki.valid.tokens"
        code, _, err = evaluate(f"run={run_dir}", f"data.text={path}", "data.words=9")
        assert code == 2 and "data.words= changes nothing for a run whose tokens are the words" in err
        code, out, _ = evaluate(f"run={run_dir}", f"data.text={path}")
        entry = load_record(run_dir).evaluations[-1]
        assert entry["word_perplexity"] == pytest.approx(record.final["word_perplexity"], rel=1e-6)
        assert entry["nats"] == pytest.approx(record.final["nats"], abs=1e-6)
    assert code == 0 and "perplexity" in out

    code, _, _ = evaluate(f"run={run_dir}", "split=validation")
    code, _, _ = evaluate(f"run={run_dir}", "split=validation", "task=copy_depth")
    whole, parts = load_record(run_dir).evaluations[-2:]
    assert code == 0 and sum(map(sum, parts["counts"])) == parts["bytes"] == whole["bytes"]
    assert sum(map(sum, parts["nats"])) == pytest.approx(whole["targets"] * whole["nats"], abs=1e-3)

    arguments = (f"run={run_dir}", "task=sample", "length=12", "prompt= the phase")
    code, written, _ = evaluate(*arguments)
    assert code == 0 and written.startswith(" the phase") and evaluate(*arguments)[1] == written
    assert evaluate(*arguments, "seed=1")[1] != written
    code, written, _ = evaluate(f"run={run_dir}", "task=sample", "length=12", "temperature=0")
    assert code == 0 and written
    if tokenizer == "words":
        code, _, err = evaluate(f"run={run_dir}", "task=sample", "prompt= the oscillator")
        assert code == 2 and "'oscillator' is none of the 16 words" in err


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["data.text={}", "split=validation"], "split= changes nothing with data.text="),
        (["data.text={}", "data.path=x"], "data.path= changes nothing with data.text="),
        (["data.text={}", "data.words=9", "max_bytes=5"], "data.words= is of the whole text, and max_bytes="),
        (["data.words=9"], "data.words= is of another text than the run's: type data.text=FILE too"),
        (["data.text={}", "task=copy_depth"], "data.text= changes nothing with task=copy_depth"),
        (["data.text={}", "context=5000"], "context=5000 is longer than wiki.test.raw.xz, 1,"),
        (["data.text={}.gz"], "data.text={}.gz does not exist"),
        (["data.text=damaged.xz"], "is damaged or not a .xz file"),
        (["data.text=none.xz"], "data.text=none.xz unpacks to nothing"),
    ],
)
def test_a_text_that_cannot_be_scored_is_one_line(asked, says, evaluate, run_dir, packed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("damaged.xz").write_bytes(packed[0].read_bytes()[:-20])
    Path("none.xz").write_bytes(lzma.compress(b""))
    code, out, err = evaluate(f"run={run_dir}", *(part.format(packed[0]) for part in asked))
    assert (code, out) == (2, "") and says.format(packed[0]) in err.splitlines()[-1]
    assert "data.path" not in err or "data.path=" in says
    assert load_record(run_dir).evaluations == []


def test_evaluations_add_up_and_leave_the_rest_of_the_record(evaluate, run_dir):
    before = json.loads((run_dir / "record.json").read_text())
    evaluate(f"run={run_dir}", "split=test", "context=16")
    evaluate(f"run={run_dir}", "split=train", "max_bytes=100", "checkpoint=last.ckpt")
    after = json.loads((run_dir / "record.json").read_text())
    first, second = after.pop("evaluations")
    assert before.pop("evaluations") == []
    assert after == before
    assert (first["split"], first["context"], first["bytes"]) == ("test", 16, after["data"]["bytes"]["test"])
    assert (second["split"], second["bytes"], second["windows"]) == ("train", 100, 4)
    assert str(run_dir.parent) not in json.dumps(first | second)


def test_a_run_that_is_still_written_is_evaluated_but_not_touched(evaluate, run_dir):
    from training.run_record.run_directory import claimed

    before = (run_dir / "record.json").read_text()
    with claimed(run_dir, overwrite=False):
        code, out, err = evaluate(f"run={run_dir}")
    assert (code, (run_dir / "record.json").read_text()) == (0, before)
    assert "bits per byte" in out
    assert "not added to its record" in err


def test_text_goes_on_from_the_prompt_and_follows_the_seed(evaluate, run_dir):
    arguments = (f"run={run_dir}", "task=sample", "prompt=def f(x, 'é'):", "length=40")
    code, first, _ = evaluate(*arguments)
    assert code == 0
    assert first.startswith("def f(x, 'é'):")
    assert evaluate(*arguments)[1] == first
    assert evaluate(*arguments, "seed=1")[1] != first
    assert load_record(run_dir).evaluations == []


def test_mistakes_are_one_line_and_code_2(evaluate, run_dir, trained, tmp_path):
    def refused(*arguments):
        code, out, err = evaluate(*arguments)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("error: ")
        return err

    assert "no run record" in refused(f"run={tmp_path / 'nowhere'}")
    assert "no checkpoint at" in refused(f"run={run_dir}", "checkpoint=elsewhere.ckpt")
    assert "not a checkpoint" in refused(f"run={run_dir}", f"checkpoint={trained / 'corpus.txt'}")
    assert "must lie between 0 and 4294967295" in refused(f"run={run_dir}", "seed=99999999999999999999")
    assert "longer than the test split" in refused(f"run={run_dir}", "context=1000000")
    if not torch.cuda.is_available():
        assert "no CUDA device" in refused(f"run={run_dir}", "device=cuda")

    record = json.loads((run_dir / "record.json").read_text())

    def change(key, value):
        (run_dir / "record.json").write_text(json.dumps(record | {key: value}))

    change("config_hash", "0000000000")
    assert "is a checkpoint of another run" in refused(f"run={run_dir}")
    change("data", record["data"] | {"sha256": "0" * 64})
    assert "has changed since the run" in refused(f"run={run_dir}")
    change("data", record["data"])
    (run_dir / "checkpoints" / "last.ckpt").write_bytes(b"cut off")
    assert "no whole checkpoint yet" in refused(f"run={run_dir}")
    (run_dir / "config.yaml").unlink()
    assert "cannot read the run's config" in refused(f"run={run_dir}")


def test_heads_are_measured_drawn_and_recorded(run_dir, evaluate):
    code, out, _ = evaluate(f"run={run_dir}", "task=synchrony", "split=validation")
    assert code == 0 and "diversity of heads" in out and "heads-validation-last.png" in out
    assert (run_dir / "heads-validation-last.svg").exists()
    entry = load_record(run_dir).evaluations[-1]
    assert (entry["task"], entry["step"], len(entry["heads"])) == ("synchrony", 3, 2)
    assert set(entry["heads"][0]) == {"diversity", "entropy", "active"}
    code, out, _ = evaluate(f"run={run_dir}", "task=synchrony", "checkpoint=start")
    assert code == 0 and load_record(run_dir).evaluations[-1]["step"] == 0


def test_losses_by_copy_depth_add_up_to_the_loss(run_dir, evaluate):
    arguments = (f"run={run_dir}", "split=validation", "max_bytes=500", "batch_size=7")
    assert evaluate(*arguments)[0] == 0
    code, out, _ = evaluate(*arguments, "task=copy_depth")
    assert code == 0
    whole, parts = load_record(run_dir).evaluations
    assert (parts["task"], parts["split"], parts["checkpoint"]) == ("copy_depth", "validation", "last.ckpt")
    assert (parts["step"], parts["context"], parts["bytes"]) == (3, 32, 500)
    assert sum(map(sum, parts["counts"])) == 500
    assert sum(map(sum, parts["nats"])) == pytest.approx(500 * whole["nats"], abs=1e-3)  # sums have four decimals
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    assert rows[0] == ["depth", "bytes", "bits per byte"]
    assert [row[0] for row in rows[2:]] == [*map(str, range(16)), "16+", "all"]
    assert rows[-1][1] == "100.00 %" and rows[-1][2].startswith(f"{whole['bits_per_byte']:.4f} ± ")


def test_copy_depth_refuses_what_the_loss_refuses(run_dir, evaluate):
    code, out, err = evaluate(f"run={run_dir}", "task=copy_depth", "context=1000000")
    assert (code, out) == (2, "") and "longer than the test split" in err
    code, _, err = evaluate(f"run={run_dir}", "task=copy_depth", "context=1")
    assert code == 2 and "must be at least 2" in err


def test_a_context_shorter_than_top_k_is_refused_in_one_line(evaluate, trained, tmp_path):
    folder = tmp_path / "osn"
    paths = [f"data.path={trained / 'corpus.txt'}", f"data.cache_dir={trained / 'cache'}", f"run_dir={folder}"]
    run(compose("train", ["model=osn", "model.top_k=16", *SETTINGS[1:], *paths]))
    for task in ("loss", "copy_depth"):
        code, _, err = evaluate(f"run={folder}", f"task={task}", "context=8")
        assert code == 2 and "context=8 is shorter than the run's model.top_k=16; type context=16 or more" in err
    assert evaluate(f"run={folder}", "context=16")[0] == 0


def test_coupling_is_measured_drawn_and_recorded(evaluate, trained, run_dir, tmp_path):
    folder = tmp_path / "fsn"
    paths = [f"data.path={trained / 'corpus.txt'}", f"data.cache_dir={trained / 'cache'}", f"run_dir={folder}"]
    run(compose("train", ["model=fsn", *SETTINGS[1:], *paths]))
    code, out, _ = evaluate(f"run={folder}", "task=coupling", "split=validation")
    assert code == 0 and "mean abs κ (rad)" in out and "coupling-validation-last.png" in out
    assert (folder / "coupling-validation-last.svg").exists()
    last = load_record(folder).evaluations[-1]
    assert (last["task"], last["split"], last["step"], last["windows"]) == ("coupling", "validation", 3, 8)
    read = [(kernel["layer"], kernel["mixer"], kernel["coupled_to"]) for kernel in last["kernels"]]
    assert read == [
        *((0, "local", f"{tau} back") for tau in range(1, 9)),
        *((1, "attention", token) for token in ("attended token", "its successor")),
        (1, "copying", "its successor"),
    ]
    code, out, err = evaluate(f"run={run_dir}", "task=coupling")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: task=coupling is for runs of fsn, fsn_native and kuramoto")
    assert load_record(run_dir).evaluations == []


@pytest.fixture(scope="module")
def recalled(tmp_path_factory):
    """A finished run with task=recall, made once."""
    folder = tmp_path_factory.mktemp("recalled")
    text = ("data=text", "data.context=32")
    strings = (
        "task=recall",
        "data=repeat64",
        "data.context=16",
        "data.lengths=[32]",
        "data.strings=70",
        "trainer.val_every=1",
    )
    run(compose("train", [*(s for s in SETTINGS if s not in text), *strings, f"run_dir={folder / 'run'}"]))
    return folder / "run"


def test_the_final_recall_is_found_again_at_every_length(evaluate, recalled):
    final = load_record(recalled).final
    for length, expected in ((16, final), (32, final["lengths"][0])):
        code, out, _ = evaluate(
            f"run={recalled}", "task=recall", f"context={length}", "split=validation", "strings=70", "batch_size=9"
        )
        assert code == 0 and f"accuracy        {expected['accuracy']:.6f}" in out
        entry = load_record(recalled).evaluations[-1]
        assert entry["nats"] == pytest.approx(expected["nats"], abs=1e-6)
        assert entry["accuracy"] == expected["accuracy"] and entry["targets"] == expected["targets"]
        assert (entry["task"], entry["split"], entry["step"], entry["context"]) == ("recall", "validation", 3, length)
    code, out, _ = evaluate(f"run={recalled}", "task=recall")
    assert code == 0 and "1,000 of test" in out and "16 symbols a string, as in training" in out and "byte" not in out


@pytest.mark.parametrize("task", ["loss", "sample", "synchrony", "copy_depth", "coupling"])
def test_a_run_of_strings_has_no_text(evaluate, recalled, task):
    code, out, err = evaluate(f"run={recalled}", f"task={task}")
    assert (code, out) == (2, "") and err.count("\n") == 1
    if task != "coupling":  # a transformer has no kernels either
        assert err.strip().endswith("recalls strings, no text: type task=recall")


def test_a_run_of_text_recalls_no_strings(evaluate, run_dir):
    code, out, err = evaluate(f"run={run_dir}", "task=recall")
    assert (code, out) == (2, "") and err.strip().endswith("is a language model, of text: type task=loss")


def test_a_length_of_which_there_is_no_string_is_one_line(evaluate, recalled):
    code, _, err = evaluate(f"run={recalled}", "task=recall", "context=33")
    assert code == 2 and "error: context=33: a string of 33 symbols has no half; type an even number" in err


def test_strings_that_are_made_otherwise_now_are_told(evaluate, recalled, monkeypatch):
    monkeypatch.setattr("data.strings.STREAM", 1)
    code, _, err = evaluate(f"run={recalled}", "task=recall")
    assert code == 2 and "the strings repeat64 are made otherwise than when" in err


@pytest.mark.parametrize("local_layers", [1, 2])
def test_a_layer_without_heads_is_evaluated(evaluate, trained, tmp_path, local_layers):
    """smoke has two layers."""
    folder = tmp_path / "fsn"
    paths = [f"data.path={trained / 'corpus.txt'}", f"data.cache_dir={trained / 'cache'}", f"run_dir={folder}"]
    more = [f"model.local_layers={local_layers}", f"model.copying_layers={2 - local_layers}"]
    run(compose("train", ["model=fsn", *more, *SETTINGS[1:], *paths]))
    code, out, _ = evaluate(f"run={folder}", "task=synchrony", "split=validation")
    assert code == 0 and "no heads" in out and "nan" not in out
    heads = load_record(folder).evaluations[-1]["heads"]
    assert heads[0] == {"diversity": None, "entropy": [], "active": []}
    assert [len(layer["active"]) for layer in heads] == [0, 2 if local_layers == 1 else 0]
    assert (folder / "heads-validation-last.svg").exists() == (local_layers == 1)
    code, out, _ = evaluate(f"run={folder}", "task=coupling", "split=validation")
    assert code == 0 and "8 back" in out and ("copying" in out) == (local_layers == 1)
    assert (folder / "coupling-validation-last.svg").exists()
    assert load_record(folder).evaluations[-1]["kernels"][0]["coupled_to"] == "1 back"


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{a: " * 5000, "\x00", "3", ""])
def test_a_damaged_config_of_a_run_is_one_line(text, evaluate, run_dir):
    (run_dir / "config.yaml").write_text(text)
    code, _, err = evaluate(f"run={run_dir}")
    assert code == 2 and err.count("\n") == 1 and str(run_dir / "config.yaml") in err


def test_an_evaluation_that_runs_out_of_memory_says_what_to_lower(evaluate, run_dir, monkeypatch):
    def short(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("measures.loss.evaluate", short)
    code, _, err = evaluate(f"run={run_dir}", "batch_size=32")
    assert (code, err) == (1, f"error: out of memory: run={run_dir} task=loss, batch_size=32; type batch_size=16\n")


def test_other_commands_tell_a_mistake_in_one_line_too():
    from results import compare, heads

    for command in (compare, heads):
        for arguments in ([], ["x", "--figur", "y", "--nonsense"]):
            with pytest.raises(UserError, match="--help shows what may be typed"):
                command.main(arguments)
