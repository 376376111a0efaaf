"""Any text as letters and single spaces: against the rules written out one character at a time, and in chunks."""

import random
import string
import unicodedata

import pytest

from data.letters import LETTERS, letters

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LEFT_BY_NFKD = {"ß": "ss", "æ": "ae", "Æ": "ae", "œ": "oe", "ø": "o", "Ø": "o", "ł": "l", "Ł": "l", "þ": "th", "ð": "d"}


def by_rules(text: str) -> bytes:
    """One character after the other, as the docstring has it."""
    out = []
    for c in unicodedata.normalize("NFKD", text):
        if "\u0300" <= c <= "\u036f" or c == "\N{SOFT HYPHEN}":
            continue
        if c in string.digits:
            out.append(f" {WORDS[int(c)]} ")
        elif c in string.ascii_letters:
            out.append(c.lower())
        else:
            out.append(LEFT_BY_NFKD.get(c, " "))
    single: list[str] = []
    for c in "".join(out):
        if not (c == " " and single and single[-1] == " "):
            single.append(c)
    return "".join(single).encode()


def of(content: bytes, size: int | None = None) -> bytes:
    size = size or max(len(content), 1)
    return b"".join(letters(content[i : i + size] for i in range(0, len(content), size)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Anarchism", "anarchism"),
        ("The  Cat's\n\t<b>hat</b>!", "the cat s b hat b "),
        ("In 1984, 7x", "in one nine eight four seven x"),
        ("naïve CAFÉ Ångström Dvořák", "naive cafe angstrom dvorak"),
        ("nai\u0308ve", "naive"),
        ("Straße, Łódź, Ærø", "strasse lodz aero"),
        ("\N{LATIN SMALL LIGATURE FI}n x\N{SUPERSCRIPT TWO}", "fin x two "),
        ("co\N{SOFT HYPHEN}operate", "cooperate"),
        ("a\N{EM DASH}b \N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER BETA} c", "a b c"),
        ("漢字", " "),
        ("", ""),
    ],
)
def test_a_text_is_its_letters(text, wanted):
    assert of(text.encode()) == wanted.encode() == by_rules(text)


def test_every_combining_mark_of_latin_letters_is_dropped():
    assert of("".join(f"a{chr(mark)}b" for mark in range(0x300, 0x370)).encode()) == b"ab" * 0x70


def test_what_is_not_utf8_is_a_space():
    assert of(b"a\xffb\xc3") == b"a b "


def test_random_texts_are_as_the_rules_say_however_they_are_cut():
    draw = random.Random(0)
    alphabet = "aZ  0 9\n-.éßÅﬁ½語\u0301\u0308\N{SOFT HYPHEN}\N{EM DASH}Łæ"
    for _ in range(200):
        text = "".join(draw.choices(alphabet, k=draw.randrange(1, 40)))
        content = text.encode()
        wanted = by_rules(text)
        assert of(content) == wanted, text
        for size in (1, 2, 3, 7):
            assert of(content, size) == wanted, (text, size)


def test_every_byte_and_character_gives_letters_and_single_spaces_alone():
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x30000)])).encode() + bytes(range(256))
    found = of(everything, 1000)
    assert set(found) == set(LETTERS) and b"  " not in found
    assert len(LETTERS) == 27 and sorted(LETTERS) == list(LETTERS)
