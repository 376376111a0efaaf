"""What an error says to type once the config is composed is typed, and then another thing happens than this error.

Each case makes an error happen, follows each of its suggestions (key=value, or a command of the shell) and looks where
the next error, if there is one, was raised: never in the same place. FILE, FOLDER and NAME stand for what a user has.
Suggestions of the config itself are followed in tests/configs.
"""

import io
import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from configs.compose import compose
from configs.errors import UserError
from configs.sweeps import requested
from configs.text_values import as_typed
from data.sources import open_data
from results.evaluate.tasks import TASKS
from results.target import parse
from training.out_of_memory import of_evaluation, of_run
from training.plan import make_plan
from training.processes import launcher
from training.processes.launcher import Place, placed
from training.run import run
from training.run_record.device import device_kind
from training.run_record.record import load_record
from training.run_record.trained_run import open_run

COMMAND = re.compile(r"\btype ((?:unzip|tar|iconv|gzip|lz4|jq) .+?)(?: and give (?:NEW|a file in it)|, and |;|$)")
WORDS = "it was the best of times, it was the worst of times\n" * 60


@dataclass
class Case:
    """`said`: of the message, from where it advises. `stands`: what a word of the advice stands for. `then`: what is
    given after a command of the shell. `leaves`: the key that is left out, where it says to.
    """

    said: str
    arguments: list[str]
    stands: dict[str, str] = field(default_factory=dict)
    then: list[str] = field(default_factory=list)
    leaves: str = ""


def raised(do: Callable[[list[str]], object], arguments: list[str]) -> tuple[str, object]:
    """The error of a command line and the place that raised it; empty where there is none."""
    try:
        do(arguments)
    except UserError as error:
        trace = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        return str(error), (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return "", None


def followed(do: Callable[[list[str]], object], case: Case, suggestions: Callable[[str], list[str]]) -> None:
    message, place = raised(do, case.arguments)
    assert case.said in message, message
    advice = message[message.rindex(case.said) :]
    arguments = [text for text in case.arguments if text.partition("=")[0] != case.leaves]

    def stood_for(text: str) -> list[str]:
        typed = (argument.partition("=") for argument in suggestions(text))
        return [f"{key}={case.stands.get(value, value)}" for key, _, value in typed]

    if command := COMMAND.search(advice):
        if shutil.which(command[1].split()[0]) is None:
            pytest.skip(f"there is no {command[1].split()[0]} here")
        subprocess.run(command[1], shell=True, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        assert raised(do, _with(arguments, case.then))[0] == "", command[1]
        return
    # What follows "or" is another way; the others go together.
    ways = [stood_for(f"type {way}") for way in re.split(r"\bor\b", advice)]
    assert any(ways), advice
    for way in filter(None, ways):
        assert raised(do, _with(arguments, way))[1] != place, (way, message)


def _with(arguments: list[str], more: list[str]) -> list[str]:
    """The arguments with those of the same key replaced."""
    changed = {text.partition("=")[0] for text in more}
    return [*(text for text in arguments if text.partition("=")[0] not in changed), *more]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with one of each that a user may have, as the current one."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(WORDS)
    Path("it's, $x.txt").write_text(WORDS)
    Path("folder").mkdir()
    for number in range(60):
        Path(f"folder/{number}.py").write_text(f"{number}\n" * 9)
    with zipfile.ZipFile("a b.zip", "w") as archive:
        archive.write("a.txt", "inner.txt")
    with tarfile.open("a.bin", "w") as archive:
        info = tarfile.TarInfo("inner.txt")
        info.size = len(WORDS)
        archive.addfile(info, io.BytesIO(WORDS.encode()))
    Path("utf16").write_text(WORDS, encoding="utf-16")
    Path("old").write_bytes(lzw(WORDS[:200].encode()))
    Path("list.json").write_text(json.dumps([{"content": f"{number}\n" * 9} for number in range(60)]))
    Path("wiki").mkdir()
    for split in ("train", "valid", "test"):
        Path(f"wiki/wiki.{split}.tokens").write_text(" a b \n" * 20)
    with zipfile.ZipFile("wiki 103.zip", "w") as archive:
        for split in ("train", "valid", "test"):
            archive.writestr(f"wikitext-103-raw/wiki.{split}.raw", " a b \n" * 20)
    Path("pairs").mkdir()
    for split in ("train", "val", "test"):
        Path(f"pairs/{split}.tsv").write_text("one two three\teins\n" * 20)
        Path(f"pairs/mine-{split}.en").write_text("one\n" * 20)
        Path(f"pairs/mine-{split}.de").write_text("eins\n" * 20)
    (Path("pairs") / "only").mkdir()
    for split in ("train", "val", "test"):
        shutil.copy(f"pairs/mine-{split}.en", f"pairs/only/mine-{split}.en")
        shutil.copy(f"pairs/mine-{split}.de", f"pairs/only/mine-{split}.de")
    Path("late.txt").write_text("a" * 900 + "b" * 100)
    return tmp_path


def lzw(text: bytes) -> bytes:
    """What the program `compress` could write: codes of 9 bits, each a byte."""
    bits = sum(byte << 9 * n for n, byte in enumerate(text))
    return b"\x1f\x9d\x90" + bits.to_bytes((9 * len(text) + 7) // 8, "little")


PAIRS = ["data=multi30k", "data.path=pairs", "data.vocabulary=258"]
ONLY = ["data.path=pairs/only", "data.validation=mine-val", "data.test=mine-test"]
OPENED = [
    Case("type data=text data.path=", ["data=stdlib", "data.path=a.txt"]),
    Case("type data=text", ["data=stdlib", "data.path='it\\'s, $x.txt'"]),
    Case("type data=code", ["data=stdlib", "data.path=folder"]),
    Case("for a plain text file type data=text", ["data=code", "data.path=a.txt"]),
    Case("a zip archive, not a text file; type", ["data=text", "data.path=a b.zip"], then=["data.path=inner.txt"]),
    Case("a tar archive, not a text file; type", ["data=text", "data.path=a.bin"], then=["data.path=inner.txt"]),
    Case("text, not UTF-8; type", ["data=text", "data.path=utf16"], then=["data.path=NEW"]),
    Case("which is not read here; type", ["data=text", "data.path=old"], then=["data.path=NEW"]),
    Case("or type data.as_bytes=true for its bytes", ["data=text", "data.path=a b.zip"]),
    Case("give one object a line: type", ["data=code", "data.path=list.json"], then=["data.path=NEW.jsonl"]),
    Case("for text of your own type", ["data=text8", "data.path=a.txt"], {"FILE": "a.txt"}),
    Case("type data=text data.path=FILE", ["data=enwik8", "data.split=[0.8,0.1,0.1]"], {"FILE": "a.txt"}),
    Case("type data=text data.path=FILE", ["data=wikitext103", "data.split=[0.8,0.1,0.1]"], {"FILE": "a.txt"}),
    Case("type data.raw=false for the word-level text there", ["data=wikitext103", "data.path=wiki"]),
    Case(
        "is a zip file; type",
        ["data=wikitext103", "data.path=wiki 103.zip"],
        {"FOLDER": "wikitext-103-raw"},
        ["data.path=wikitext-103-raw"],
    ),
    Case("type data.tokenizer=bytes", ["data=text", "data.path=late.txt", "data.tokenizer=characters"]),
    Case("type data.tokenizer=bpe", ["data=text", "data.path=a.txt", "data.tokenizer=words"]),
    Case("; type data.vocabulary=", ["data=text", "data.path=a.txt", "data.tokenizer=bpe"]),
    Case("type data.tokenizer=", ["data=text", "data.path=a.txt", "data.tokenizer=byte"]),
    Case("give the folder of the files of all splits: type", ["data=multi30k", "data.path=pairs/train.tsv"]),
    Case("; type data.train=NAME", [*PAIRS, *ONLY], {"NAME": "mine-train"}),
    Case("; type data.too_long=truncate", [*PAIRS, "data.context=2"]),
    Case("; type data.max_ratio=null", [*PAIRS, "data.max_ratio=1"]),
    Case("; type data.vocabulary=", ["data=multi30k", "data.path=pairs"]),
]
PARSED = [
    Case("type profile=cpu too", ["table-learning-rates", "sweeper=optuna"]),
    Case("and type profile=cpu", ["table-learning-rates", "sweeper=optuna", "train=false"], leaves="train"),
    Case("type profile=cpu too", ["table-ssa-cost", "rounds=3"]),
]


@pytest.mark.parametrize("case", OPENED, ids=lambda case: " ".join(case.arguments))
def test_what_an_error_of_the_data_says_to_type(case, files, suggestions):
    task = ["task=translation"] if "data=multi30k" in case.arguments else []

    def opened(arguments: list[str]) -> None:
        open_data(compose("train", [*task, *as_typed("train", arguments), f"data.cache_dir={files / 'cache'}"]).data)

    followed(opened, case, suggestions)


@pytest.mark.parametrize(
    "case",
    [
        Case("type data.context=", ["data.context=500"]),
        Case("type optim.lr=0.003", ["scale.name=mine", "optim.lr=null"]),
        Case("or type scale.parameters=", ["model.ff_width=7"]),
        Case("type trainer.accelerator=cpu", ["trainer=gpu"]),
        Case("type trainer.accelerator=cpu", ["trainer.accelerator=cuda"]),  # and trainer=cpu
        Case("type ssa.backend=auto", ["model=osn", "ssa.backend=flex"]),
    ],
    ids=lambda case: " ".join(case.arguments),
)
def test_what_an_error_of_a_run_says_to_type(case, overrides, suggestions, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    followed(lambda arguments: make_plan(compose("train", _with(overrides, arguments))), case, suggestions)


def test_a_run_directory_of_another_config(overrides, uninterrupted, tmp_path, suggestions):
    shutil.copytree(uninterrupted(), tmp_path / "run")
    case = Case("or say overwrite=true", ["seed=1", "trainer.max_steps=1"])
    followed(lambda arguments: run(compose("train", [*overrides, *arguments])), case, suggestions)


EVALUATED = [
    Case("; type context=", ["context=5000"]),
    Case("; type stride=", ["context=8", "stride=9"]),
    Case(": type task=loss", ["task=recall"]),
    Case("; type task=synchrony", ["task=coupling"]),
    Case("type checkpoint=last", ["checkpoint=average"]),
    Case("type the data.path=PATH of that", ["data.path=a b.zip"]),  # that of training advises data.as_bytes=true
    Case("type the data.path=PATH of that", ["data.path=short.txt"]),  # and another data.split=
]


@pytest.mark.parametrize("case", EVALUATED, ids=lambda case: " ".join(case.arguments))
def test_what_an_error_of_an_evaluation_says_to_type(case, files, uninterrupted, text_file, suggestions):
    Path("short.txt").write_text("ab")
    case.stands = {"PATH": str(text_file)}
    shutil.copytree(uninterrupted(), files / "run")

    def evaluated(arguments: list[str]) -> None:
        config = compose("eval", [f"run={files / 'run'}", *arguments])
        TASKS[config.task](config)

    followed(evaluated, case, suggestions)


@pytest.mark.parametrize("case", PARSED, ids=lambda case: " ".join(case.arguments))
def test_what_an_error_of_a_table_says_to_type(case, suggestions):
    followed(parse, case, suggestions)


def test_out_of_memory_says_to_type_less(overrides, suggestions):
    """Each step down is another, until there is none."""
    config, seen = compose("train", overrides), set()
    for _ in range(4):
        (said,) = suggestions(of_run(config, MemoryError()))
        assert said not in seen
        seen.add(said)
        overrides = _with(overrides, [said])
        config = compose("train", overrides)
    for arguments in (["task=sample", "length=4"], ["context=8", "batch_size=2"], ["task=translate", "batch_size=2"]):
        typed, seen = ["run=x", *arguments], set()
        while found := suggestions(of_evaluation(compose("eval", typed))):
            assert found[-1] not in seen and len(seen) < 9
            seen.add(found[-1])
            typed = _with(typed, found[-1:])


def test_devices_that_a_launcher_contradicts(overrides, monkeypatch, suggestions):
    monkeypatch.setattr(launcher, "recognised", lambda variables: Place("torchrun", size=2, local_size=2))
    case = Case("type trainer.devices=2", ["trainer.devices=4"])
    followed(lambda arguments: placed(compose("train", [*overrides, *arguments])), case, suggestions)


def test_more_processes_than_devices(overrides, monkeypatch, suggestions):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def kind(arguments: list[str], **started: str) -> str:
        config = compose("train", [*overrides, *arguments])
        devices = config.trainer.devices
        return device_kind(config, Place(size=devices, local_size=devices, **started))

    arguments = ["trainer.accelerator=auto", "trainer.devices=2"]
    followed(kind, Case("type trainer.devices=1", arguments), suggestions)
    # The number of processes is the launcher's: trainer.devices=1 would contradict it.
    message, _ = raised(lambda typed: kind(typed, launcher="torchrun"), arguments)
    assert message.endswith("have torchrun start 1, or type trainer.accelerator=cpu")


def test_a_checkpoint_of_another_run(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted(), tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    path.write_text(path.read_text().replace(load_record(path).config_hash, "0" * 10))
    shutil.copy(tmp_path / "run/checkpoints/last.ckpt", tmp_path / "other.ckpt")
    for checkpoint, advice in ((str(tmp_path / "other.ckpt"), "type checkpoint=last"), ("last", "move it away")):
        with pytest.raises(UserError, match=f"is a checkpoint of another run than .*; {advice}$"):
            open_run(str(tmp_path / "run"), checkpoint)


def test_status_of_a_sweep_is_asked_for_where_there_is_one():
    message, _ = raised(parse, ["table-learning-rates", "status=true"])
    command = message.partition("type python train.py ")[2].split()
    assert requested(command).status
    assert "type" not in raised(parse, ["table-ssa-cost", "status=true"])[0]
