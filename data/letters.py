"""Any text as that of text8: lower-case letters a-z and single spaces.

As the end of Mahoney's wikifil.pl (http://mattmahoney.net/dc/textdata.html): upper case becomes lower case, a digit
its English word, and every other run of characters one space. That script makes a space of all that is not ASCII.
Our choice instead: text is read as UTF-8 and decomposed (NFKD), then accents and soft hyphens are dropped, so that
`naïve` is `naive` and not `na ve`; a few Latin letters that have no decomposition are written out, `ß` as `ss`. Mark-up
stays, as words: the script takes it out before, but only knows that of Wikipedia.
"""

import codecs
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

LETTERS = b" " + string.ascii_lowercase.encode()
# What decides the letters of a text, for the cache. `rules` is to be counted up with every change of this file's rules.
RECIPE: dict[str, Any] = {"rules": 1, "unicode": unicodedata.unidata_version}

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = [(str(digit).encode(), f" {word} ".encode()) for digit, word in enumerate(DIGITS)]
# NFKD leaves these as they are.
WRITTEN_OUT = {
    **{"ß": "ss", "ẞ": "ss", "æ": "ae", "œ": "oe", "þ": "th"},
    **{"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\N{LATIN SMALL LETTER DOTLESS I}": "i"},
}
SPELLED = {
    form.encode(): plain.encode() for c, plain in WRITTEN_OUT.items() for form in {c, c.upper()} if form > "\x7f"
}
# These, combining marks (U+0300 to U+036F) and the soft hyphen, in UTF-8.
FOLDED = re.compile(b"|".join([*SPELLED, rb"\xcc[\x80-\xbf]", rb"\xcd[\x80-\xaf]", rb"\xc2\xad"]))
LOWER = bytes(byte if byte in LETTERS else 32 for byte in bytes(range(256)).lower())
SPACES = re.compile(rb"  +")


def letters(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The letters and spaces of a text, chunk by chunk; the same wherever the text is cut into chunks.

    What is not UTF-8 becomes a space.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    after_space = False
    for chunk in chain(chunks, (None,)):
        text = decoder.decode(chunk or b"", final=chunk is None)
        content = _letters(text)
        if after_space and content.startswith(b" "):
            content = content[1:]
        if content:
            after_space = content.endswith(b" ")
            yield content


def _letters(text: str) -> bytes:
    content = text.encode() if text.isascii() else _folded(text)
    for digit, word in WORDS:
        content = content.replace(digit, word)
    return SPACES.sub(b" ", content.translate(LOWER))


def _folded(text: str) -> bytes:
    """Text in UTF-8, its Latin letters without accents."""
    return FOLDED.sub(lambda found: SPELLED.get(found[0], b""), unicodedata.normalize("NFKD", text).encode())
