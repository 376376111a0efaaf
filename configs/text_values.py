"""Text that a user types arrives as typed: Hydra would make a number of `1e3`, and stumble over brackets and accents.

Keys of free text (names, paths, a prompt) are taken literally, with three exceptions: `null` where the key may be
empty, text in quotes, which means what is inside them, and commas between values, which make a sweep. `~` in a path is
the home folder.
"""

import functools
import re
import shlex
from collections.abc import Sequence

from hydra.errors import HydraException

from configs.errors import UserError
from configs.fields import limits_of
from configs.groups import defaults, schema
from configs.hydra_private import Override, OverridesParser, QuotedString
from configs.paths import expanded
from configs.saved import escaped
from configs.schema import PAIRS, STRINGS
from configs.strict import leaves, require_utf8

# In the hash of a run, so they stay as typed; data.files expands them where they are opened.
OF_A_RUN = ("data.path", "data.tokenizer")
ESCAPED_BY_HYDRA = re.compile(r"[\\()\[\]{}:=, \t]")  # where a value without quotes is one of several
INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
GROUPING = re.compile(r"""['"()\[\]{}\\]""")  # with these a comma need not separate two values


def as_typed(entry: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with each value of free text written so that Hydra reads what was typed. Twice is as once.

    Raises UserError for a Windows line end, `???` where no text is taken, and `~` where there is no home folder.
    """
    return [_as_typed(entry, argument) for argument in arguments]


def refuse_resolvers(entry: str, argument: str, legal: Sequence[str]) -> None:
    """UserError for an interpolation of anything but a key of the config: nothing is read from the environment."""
    given, _, value = argument.partition("=")
    key = given.lstrip("+")
    if INTERPOLATION.search(value) and not set(re.findall(r"\$\{([^}]*)", value)) <= set(legal):
        override = _parsed(key, value)
        meant = override.value() if override and isinstance(override._value, QuotedString) else value
        literally = f", or {shell_word(quoted(key, str(meant)))} for this very text" if key in text_keys(entry) else ""
        raise UserError(
            f"{argument}: an interpolation takes a key of this config, such as ${{seed}}; type the value itself"
            f"{literally}"
        )


def refuse_line_ends(arguments: Sequence[str]) -> None:
    """UserError for an argument that ends in a carriage return, as every line of a script from Windows does."""
    for argument in arguments:
        if argument.endswith("\r"):
            text = argument.rstrip("\r")
            raise UserError(
                f"'{text}\\r' ends in a carriage return, the line end of Windows: type {shell_word(text)}; for all "
                "lines of a script type sed -i 's/\\r$//' SCRIPT"
            )


def quoted(key: str, value: str) -> str:
    """The override that gives `key` this very text: `prompt='f(a, b)'`, with all that OmegaConf (${) and Hydra (quotes)
    would read escaped.
    """
    return f"{key}={_in_quotes(value)}"


def argument(key: str, text: str) -> str:
    """What a user types in a shell to give `key`, one of free text, this very text."""
    literally = re.search(r"""[,'"$\\?]""", text) or text == "null"
    return shell_word(quoted(key, text) if literally else f"{key}={text}")


def shell_word(text: str) -> str:
    """An argument as it is typed in a shell."""
    if shlex.quote(text) == text:
        return text
    return shlex.quote(text) if re.search(r'["$`\\!]', text) else f'"{text}"'


@functools.cache
def text_keys(entry: str) -> dict[str, bool]:
    """The keys of an entry point that take free text, and whether each may be null."""
    sources = (None, PAIRS[0], *STRINGS) if entry == "train" else (None,)
    found = {}
    for source in sources:
        for key, field, _, _ in leaves(schema(entry, defaults(entry).get("model"), source)):
            if field.type in (str, str | None) and not limits_of(field).names:
                found[key] = field.type is not str
    return found


@functools.cache
def path_keys(entry: str) -> frozenset[str]:
    """Those of them that name a file or a folder."""
    sources = (None, PAIRS[0]) if entry == "train" else (None,)
    trees = (schema(entry, defaults(entry).get("model"), source) for source in sources)
    return frozenset(key for tree in trees for key, field, _, _ in leaves(tree) if limits_of(field).path)


def _as_typed(entry: str, argument: str) -> str:
    refuse_line_ends([argument])
    given, equals, value = argument.partition("=")
    require_utf8(given, value)
    key = given.lstrip("+")
    if not equals or re.split(r"[./]", key)[0] == "hydra":
        return argument
    is_text = key in text_keys(entry)
    if value.strip(" '\"") == "???" and not is_text:
        raise UserError(f"{argument}: ??? stands for a value that is missing; leave it out, or type the value itself")
    if not is_text or value == "" or (value == "null" and text_keys(entry)[key]):
        return argument
    path = key if key in path_keys(entry) and not (entry == "train" and key in OF_A_RUN) else None
    if all(value.split(",")) and "," in value and not GROUPING.search(value):
        return f"{given}={','.join(_readable(key, part, path) for part in value.split(','))}"
    return f"{given}={_readable(key, value, path)}"


def _readable(key: str, text: str, path: str | None) -> str:
    """One value of free text as Hydra reads it, `~` expanded in that of the key `path`."""
    override = _parsed(key, text)
    if override is not None and override.is_sweep_override():
        return text
    value = None if override is None else override.value()
    in_quotes = override is not None and isinstance(override._value, QuotedString)
    meant = value if in_quotes and isinstance(value, str) else text
    if path is not None and meant.startswith("~"):
        return _in_quotes(expanded(meant, path), literally=not INTERPOLATION.search(meant))
    if meant == "???":
        return _in_quotes(meant)
    if in_quotes or (value == text and not ESCAPED_BY_HYDRA.search(text)):
        return text
    return _in_quotes(text, literally=not INTERPOLATION.search(text))


def _parsed(key: str, text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException:
        return None


def _in_quotes(value: str, literally: bool = True) -> str:
    value = escaped(value) if literally else value
    value = re.sub(r"(\\*)'", r"\1\1\\'", value)
    value = re.sub(r"(\\+)\Z", r"\1\1", value)
    return f"'{value}'"
