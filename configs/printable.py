"""Text from a file or a name, safe to show: no character of it controls a terminal or reorders what is read."""

import re

# Controls of C0 and C1, marks that reorder text (Unicode TR 36, section 2.5), line separators, and halves of surrogate
# pairs, which no output can encode.
UNSAFE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
CONTROL = re.compile(f"[{UNSAFE}]")
IN_LINES = re.compile(rf"(?![\n\t])[{UNSAFE}]")
LINE_BREAKS = re.compile(r"\s*[\n\r\v\f\x85\u2028\u2029]\s*")


def printable(text: str) -> str:
    """Text of several lines with every unsafe character written out: the escape of a terminal as the letters \\x1b."""
    return IN_LINES.sub(_written_out, text)


def in_one_line(text: str) -> str:
    """The same of one line: a line break is a space."""
    return CONTROL.sub(_written_out, LINE_BREAKS.sub(" ", text))


def shortened(value: object, most: int = 200) -> str:
    """A value as an error shows it: whole, or its beginning."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
