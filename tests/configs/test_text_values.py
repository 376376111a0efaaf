"""What a user types for a name or a path arrives as it was typed, and ~ is the home folder."""

import os

import pytest

from configs.compose import compose
from configs.entry import entry_point
from configs.errors import UserError
from configs.frozen import freeze, thaw
from configs.paths import expanded
from configs.sweeps import combined
from configs.text_values import as_typed, path_keys, text_keys

AS_TYPED = ["1e3", "007", "1.50", "1_000", "true", "~x", "[a].txt", "a b", " a ", "a=b", "$HOME", "a'b", 'a"b', "é:ü"]
AS_TYPED += [
    "a\\b",
    "\\\\host\\x",
    "a#b",
    "{a}",
    "f(x)",
    "int(3)",
    "a;b&c!",
    "a*?|<>",
    "'a'b'",
    "a\nb",
    "-",
    "${",
    "${}",
    "???",
    "'???",
    "\\???",
    "\\\\???",
]
# Free text that names no file: anything else is a path.
NO_PATHS = {
    "train": {
        *("model.name", "scale.name", "data.name", "data.train", "data.validation", "data.test", "trainer.name"),
        *("logger.project", "logger.entity"),
    },
    "eval": {"data.test", "prompt"},
    "bench": {"scale.name"},
}


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_home(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)  # as for a user whom the system does not know


def value_of(entry, argument):
    key = argument.partition("=")[0]
    value = compose(entry, [argument, *(["run=x"] if entry == "eval" and key != "run" else [])])
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("text", AS_TYPED)
def test_text_arrives_as_typed(text):
    if text.startswith("~") or text in ("${", "${}"):
        with pytest.raises(UserError):
            value_of("train", f"run_dir={text}")
        return
    (argument,) = as_typed("train", [f"run_dir={text}"])
    assert as_typed("train", [argument]) == [argument], "twice is as once"
    assert value_of("train", f"run_dir={text}") == text
    assert value_of("eval", f"run={text}") == text


@pytest.mark.parametrize("text", ["???", "\\???", "'???'", "null", "~", "${seed}", "${oc.env:HOME}", "a,b", "%s"])
def test_a_prompt_arrives_as_typed(text, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr("sys.argv", ["eval.py", "run=x", "task=sample", f"prompt={text}"])
    entry_point("eval", literal=("prompt",))(lambda config: seen.append(config.prompt))()
    assert seen == [text]


def test_a_text_of_question_marks_outlives_the_run():
    config = compose("train", ["data=text", "data.path=???", "run_dir=\\\\???"])
    assert (config.data.path, config.run_dir) == ("???", "\\\\???")
    assert thaw(freeze(config)) == config, "by a file"
    paths = [compose("train", list(job.overrides)).data.path for job in combined(["data=text", "data.path=a,???"]).jobs]
    assert paths == ["a", "???"]
    assert value_of("train", """data.path='???'""") == value_of("train", """data.path="???" """.strip()) == "???"


def test_what_is_not_text_alone():
    assert value_of("train", "data.path=null") is None
    assert value_of("train", "data.name=null") == "null"
    assert value_of("train", "data.path='null'") == "null"
    assert value_of("train", "run_dir='a, b'") == value_of("train", 'run_dir="a, b"') == "a, b"
    assert value_of("train", "run_dir=x/${seed}") == "x/0"
    assert as_typed("train", ["run_dir=a,1e3", "seed=1e3", "hydra.sweep.dir=1e3"]) == [
        *("run_dir=a,'1e3'", "seed=1e3", "hydra.sweep.dir=1e3")
    ]
    with pytest.raises(UserError, match=r"^data.path=\\xff.txt is not UTF-8"):
        compose("train", ["data.path=\udcff.txt"])
    # As Python gives "é" where it takes the command line for ASCII.
    with pytest.raises(UserError, match=r"^prompt=café: Python reads ASCII alone here; type export PYTHONUTF8=1"):
        compose("eval", ["run=x", "prompt=caf\udcc3\udca9"])


@pytest.mark.parametrize("entry", NO_PATHS)
def test_every_key_of_free_text_is_a_path_or_known_to_be_none(entry):
    assert set(text_keys(entry)) == path_keys(entry) | NO_PATHS[entry]


@pytest.mark.parametrize(("entry", "key"), [(entry, key) for entry in NO_PATHS for key in sorted(path_keys(entry))])
def test_the_home_folder_in_every_path(entry, key, home):
    """Two keys are in the hash of a run and stay as typed: tests/data/test_home.py opens them."""
    kept = entry == "train" and key in ("data.path", "data.tokenizer")
    for typed in ("~/a b", "'~/a b'"):
        (argument,) = as_typed(entry, [f"{key}={typed}"])
        assert argument == (f"{key}='~/a b'" if kept else f"{key}='{home}/a b'")


@pytest.mark.parametrize(("entry", "key"), [(entry, key) for entry in NO_PATHS for key in sorted(path_keys(entry))])
def test_without_a_home_folder(entry, key, no_home):
    if entry == "train" and key in ("data.path", "data.tokenizer"):
        return
    with pytest.raises(UserError) as error:
        as_typed(entry, [f"{key}=~/x"])
    assert str(error.value) == (
        f"{key}=~/x: there is no home folder, because HOME is not set; type a path without ~, such as {key}=/tmp/x"
    )


@pytest.mark.parametrize("value", ["", "here"])
def test_a_home_that_is_no_absolute_path_is_none(monkeypatch, value):
    monkeypatch.setenv("HOME", value)
    with pytest.raises(UserError, match="there is no home folder"):
        expanded("~/x", "run")


def test_names_of_users(home):
    assert expanded("~", "run") == str(home)
    assert expanded("./~x", "run") == "./~x"
    with pytest.raises(UserError, match=r"^run=~no_such/x: there is no user no_such; .* type run=./~no_such/x$"):
        expanded("~no_such/x", "run")


@pytest.mark.parametrize(
    "text",
    [
        "x, y,",
        ",x",
        "notes \u00e9,",
        ",",
        "a b",
        "a=b:c",
        "a\\b",
        "it's",
        'say "it"',
        "1e3",
        "~x",
        "a,b",
        "[x",
        "${seed}",
    ],
)
def test_twice_is_as_once(home, text):
    once = as_typed("train", [f"data.path={text}", f"data.name={text}"])
    assert as_typed("train", once) == once


def test_a_comma_at_an_end_is_of_the_name():
    assert compose("train", ["data=text", "data.path=x, y,"]).data.path == "x, y,"
    assert [job.data.path for job in jobs("data=text", "data.path=a b,c d")] == ["a b", "c d"]


def jobs(*overrides):
    """The configs of `-m`."""
    return [compose("train", job.overrides) for job in combined(overrides).jobs]
