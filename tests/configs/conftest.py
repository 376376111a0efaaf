"""The suggestions that errors make, followed."""

import functools
import re
from collections.abc import Callable

import pytest

from configs.compose import compose
from configs.errors import UserError

Suggestions = Callable[[str], list[str]]
PLACEHOLDERS = ("VALUE", "FILE", "FOLDER", "PATH", "NAME", "N", "...")


def error_of(entry: str, arguments: list[str]) -> str:
    try:
        compose(entry, arguments)
    except UserError as error:
        return str(error)
    return ""


def _follow(suggestions: Suggestions, entry: str, arguments: list[str], message: str) -> list[str]:
    """Follow each suggestion of a message: in place of what is wrong, or beside it. Raises AssertionError for one that
    is a mistake of its own key either way. Returns them.
    """
    found = [text for text in suggestions(message) if text.partition("=")[2] not in PLACEHOLDERS]
    for argument in found:
        key = argument.partition("=")[0].lstrip("+")
        others = [text for text in arguments if re.split(r"[=@]", text.lstrip("+~"))[0] != key]
        right = [text for text in others if "=" in text and text.partition("=")[0].lstrip("+") not in message]
        errors = [error_of(entry, [*kept, argument]) for kept in (right, others)]
        # Another mistake may follow: `data=text needs a file`.
        own = re.compile(rf"(unknown key '|cannot read )?{re.escape(key)}('|=[^ ]*): ")
        assert any(not own.match(error) for error in errors), (argument, errors)
    return found


@pytest.fixture
def follow(suggestions: Suggestions) -> Callable[[str, list[str], str], list[str]]:
    return functools.partial(_follow, suggestions)
