"""Damaged and malicious input for readers, and the check that all of it is answered with one line.

Hypothesis (hypothesis.readthedocs.io) draws the input and makes what fails as small as it can. In the suite it draws
the same every time; SYNCHRONY_FUZZ=100, as `make fuzz` has it, draws 100 times as many, others each time. What failed
is printed with the line that makes it again.
"""

import copy
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from configs.errors import UserError

TIMES = int(os.environ.get("SYNCHRONY_FUZZ", "1"))  # as many inputs as in the suite

SCALARS = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**12, 10**400, 1e308, 1e-320, -0.0),
    *(float("nan"), float("inf"), -float("inf"), "", " ", "0", "-1", "1e999", "nan", "null", "???", "~", "x" * 3000),
    *(
        "${oc.env:HOME}",
        "${seed}",
        "${",
        "\\${a}",
        "${eval:1+1}",
        "${oc.create:{a:1}}",
        "../../x",
        "/etc/passwd",
        "a\0b",
    ),
    *(
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "é",
        "=1+1",
        "<script>",
        "$x$",
        "`",
        "|",
        "'",
        '"',
        ",",
        "[",
        "{",
        "a,b",
        "!!int 3",
    ),
    *("_target_", "os.system", "bytes", "words", "characters", "fsn", "translation", "recall", "numbers", "repeat"),
]
KEYS = ["_target_", "hydra", "x", "name", "defaults", "__class__", "", "\ud800", "a b", "split", "task"]
PIECES = [
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"'",
        b",",
        b":",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\x80",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
    ),
    *(
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!python/name:os.abort ",
        b"- ",
        b"? ",
        b"| ",
        b"> ",
        b"# ",
        b"--- ",
        b"%YAML 9.9\n",
        b"\t",
    ),
    *(b"NaN", b"Infinity", b"1e999", b"9" * 500, b"[" * 2000, b'{"a":' * 2000, b"-", b"+", b"e", b".", b"\\u0000"),
    *(b"\\ud800", b"null", b"true", b"3", b"=", b"${oc.env:HOME}", b"\\", b"~", b"@", b"(", b")", b"\x1b[31m"),
]


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hypothesis would keep tables in the folder where it was started."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


def _anything() -> st.SearchStrategy[Any]:
    """JSON of any kind, and numbers that JSON has not."""
    keys = st.sampled_from(KEYS) | st.text(max_size=5)
    return st.recursive(
        st.sampled_from(SCALARS) | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=5,
    )


@st.composite
def damaged_values(draw: st.DrawFn, goods: list[Any]) -> Any:
    """A tree of mappings and lists with one to three changes: a value replaced, left out, renamed, nested."""
    tree = [copy.deepcopy(draw(st.sampled_from(goods)))]
    for _ in range(draw(st.integers(1, 3))):
        branch, key = draw(st.sampled_from(list(_places(tree))))
        value = branch[key]
        match draw(st.sampled_from(("replaced", "replaced", "left out", "renamed", "nested"))):
            case "replaced":
                branch[key] = draw(_anything())
            case "left out" if branch is not tree:
                del branch[key]
            case "renamed" if isinstance(branch, dict):
                branch[draw(st.sampled_from(KEYS))] = branch.pop(key)
            case _:
                text = json.dumps(value, default=str)
                branch[key] = draw(st.sampled_from(([value], {"x": value}, [value, value], str(value), text)))
    return tree[0]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode(errors="surrogatepass")


def _places(tree: Any) -> Any:
    for key in range(len(tree)) if isinstance(tree, list) else list(tree):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


@st.composite
def damaged_bytes(draw: st.DrawFn, goods: list[bytes]) -> bytes:
    """One to four changes of bytes: flipped, cut, doubled, put in."""
    content = bytearray(draw(st.sampled_from(goods)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.sampled_from((1, 2, 8, 64, len(content)))))
        match draw(st.integers(0, 5)):
            case 0:
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del content[at:to]
            case 2:
                content[at:at] = content[at:to][:2000]
            case 3:
                content[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(PIECES))
            case 4:
                content[at:at] = draw(st.sampled_from(PIECES))
            case 5:
                del content[at:]
    return bytes(content)


def only_clean_errors(
    n: int, inputs: st.SearchStrategy[Any], read: Callable[[Any], None], refused: float = 0.1
) -> None:
    """Fails where `read` answers one of n inputs with anything but a value or one readable line; and where fewer than
    that share of them are refused, because then the inputs are no test.
    """
    answers = {"taken": 0, "refused": 0}

    @settings(
        max_examples=n * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def check(content: Any) -> None:
        try:
            read(content)
            answers["taken"] += 1
        except UserError as error:
            answers["refused"] += 1
            assert str(error).strip() and len(str(error)) < 2000 + 2 * len(str(content))

    check()
    assert answers["refused"] >= refused * sum(answers.values()), answers


@pytest.fixture(scope="session")
def damaged() -> Any:
    """What draws, and what checks."""

    class Damaged:
        values = staticmethod(damaged_values)
        bytes = staticmethod(damaged_bytes)
        json = staticmethod(as_json)
        only_clean_errors = staticmethod(only_clean_errors)

    return Damaged
