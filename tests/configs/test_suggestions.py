"""What an error says to type is typed, and is then no mistake of that key: also in test_override_errors.py."""

import pytest

from configs.compose import compose
from configs.entry import entry_point
from configs.errors import UserError
from configs.text_values import refuse_line_ends


@pytest.mark.parametrize(
    ("entry", "argument", "value"),
    [
        ("train", "data.path=a,b", "a,b"),
        ("train", "data.path=choice(a,b)", "choice(a,b)"),
        ("train", "run_dir=it's,one", "it's,one"),
        ("train", "data.path=${oc.env:HOME}/x", "${oc.env:HOME}/x"),
        ("train", 'data.path=a"${seed:1}`', 'a"${seed:1}`'),
        ("eval", "run=a,b", "a,b"),
        ("bench", "output=${x}", "${x}"),
    ],
)
def test_a_suggestion_for_this_very_text_gives_it(entry, argument, value, follow):
    if argument == "run_dir=it's,one":  # not two values: a quote is open
        assert compose(entry, [argument]).run_dir == value
        return
    with pytest.raises(UserError) as error:
        compose(entry, [argument])
    message = str(error.value)
    assert message.endswith("for this very text")
    (said,) = [text for text in follow(entry, [argument], message) if text.startswith(argument.partition("=")[0])]
    config = compose(entry, [said, *(["run=x"] if entry == "eval" and not said.startswith("run=") else [])])
    for part in argument.partition("=")[0].split("."):
        config = getattr(config, part)
    assert config == value


def test_a_windows_line_end_is_named_and_what_is_said_instead_works(monkeypatch, capsys, follow):
    with pytest.raises(
        UserError, match=r"^'scale=smoke\\r' ends in a carriage return, the line end of Windows"
    ) as error:
        refuse_line_ends(["seed=1", "scale=smoke\r"])
    assert follow("train", ["scale=smoke\r"], str(error.value)) == ["scale=smoke"]
    for argument in ("seed=3\r", "-m\r", "data.path=x\r", "model=fsn\r"):
        monkeypatch.setattr("sys.argv", ["train.py", argument])
        with pytest.raises(SystemExit) as stop:
            entry_point("train")(lambda config: None)()
        said = capsys.readouterr().err
        assert (stop.value.code, said.count("\n")) == (2, 1)
        assert argument.strip() + "\\r' ends in a carriage return" in said


def test_several_values_are_run_with_m(monkeypatch):
    seen = []
    monkeypatch.setattr("sys.argv", ["eval.py", "-m", "run=a,1e3", "max_bytes=5,7"])
    with pytest.raises(SystemExit) as ended:
        entry_point("eval")(lambda config: seen.append((config.run, config.max_bytes)))()
    assert ended.value.code == 0
    assert seen == [("a", 5), ("a", 7), ("1e3", 5), ("1e3", 7)]
