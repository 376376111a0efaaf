"""Damaged and malicious variants of good input, drawn from a seed: the same number gives the same variant."""

import copy
import json
import random
from typing import Any

import pytest

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
NESTED = [
    [],
    {},
    [[]],
    [None],
    [1, 2, 3],
    ["a"],
    {"a": 1},
    {"": None},
    {"name": "fsn"},
    {"_target_": "os.abort"},
    [[1.5]],
]
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


def mutated_text(good: bytes, draw: random.Random) -> bytes:
    """One to four changes of bytes: flipped, cut, doubled, put in."""
    content = bytearray(good)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) + 1)
        to = min(len(content), at + draw.choice((1, 1, 2, 8, 64, len(content))))
        match draw.randrange(6):
            case 0:
                content[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del content[at:to]
            case 2:
                content[at:at] = content[at:to][:2000]
            case 3:
                content[at : at + draw.randrange(4)] = draw.choice(PIECES)
            case 4:
                content[at:at] = draw.choice(PIECES)
            case 5:
                del content[at:]
    return bytes(content)


def mutated_values(good: Any, draw: random.Random) -> Any:
    """One to three changes in a tree of mappings and lists: a value replaced, left out, doubled, renamed, nested."""
    tree = [copy.deepcopy(good)]
    for _ in range(draw.randint(1, 3)):
        branch, key = draw.choice(list(_places(tree)))
        value = branch[key]
        match draw.randrange(7):
            case 0 | 1:
                branch[key] = draw.choice(SCALARS)
            case 2:
                branch[key] = copy.deepcopy(draw.choice(NESTED))
            case 3 if branch is not tree:
                del branch[key]
            case 4 if isinstance(branch, dict):
                branch[str(draw.choice(SCALARS))[:40]] = branch.pop(key)
            case 5 if isinstance(branch, dict):
                branch[draw.choice(("_target_", "hydra", "x", "name", "defaults", "__class__"))] = value
            case 6:
                branch[key] = draw.choice(
                    ([value], {"x": value}, [value, value], str(value), json.dumps(value, default=str))
                )
    return tree[0]


def _places(tree: Any) -> Any:
    for key in range(len(tree)) if isinstance(tree, list) else list(tree):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


@pytest.fixture(name="mutated_text", scope="session")
def _text() -> Any:
    return mutated_text


@pytest.fixture(name="mutated_values", scope="session")
def _values() -> Any:
    return mutated_values
