"""Sentences about numbers, English and German: pairs that are made, for a first translation without any file (ours).

"Yesterday Anna sold three hundred and forty-two red cups for seventeen euros." is "Gestern verkaufte Anna
dreihundertzweiundvierzig rote Tassen für siebzehn Euro.": in German the verb comes second, units come before tens, and
a number is one word, so words have to be found, reordered and joined. No two sentences have the same two numbers, so
that none of validation and test is seen in training.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

PAIRS = {"train": 20_000, "validation": 200, "test": 200}
MOST = 1000  # numbers are below it
SEED = 0x6E_75_6D_73
VERSION = 1  # of the pairs: to be counted up with every change of them

ENGLISH = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
ENGLISH_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
GERMAN = (
    *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf"),
    *("dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn"),
)
GERMAN_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")


TIMES = (("Yesterday", "Gestern"), ("On Monday", "Am Montag"), ("Last year", "Letztes Jahr"), ("Today", "Heute"))
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix")
VERBS = (("bought", "kaufte"), ("sold", "verkaufte"), ("ordered", "bestellte"))
ADJECTIVES = (("red", "rote"), ("old", "alte"), ("small", "kleine"), ("new", "neue"))
NOUNS = (
    *(("apples", "Äpfel"), ("books", "Bücher"), ("chairs", "Stühle"), ("cups", "Tassen"), ("bicycles", "Fahrräder")),
    *(("flowers", "Blumen"), ("letters", "Briefe")),
)


def english(number: int) -> str:
    """A number from 0 to 999 in British English."""
    hundreds, rest = divmod(number, 100)
    words = [f"{ENGLISH[hundreds]} hundred"] if hundreds else []
    if rest or not hundreds:
        tens, units = divmod(rest, 10)
        below = ENGLISH[rest] if rest < 20 else ENGLISH_TENS[tens - 2] + (f"-{ENGLISH[units]}" if units else "")
        words.append(below)
    return " and ".join(words)


def german(number: int) -> str:
    """The same in German, one word."""
    hundreds, rest = divmod(number, 100)
    word = f"{_unit(hundreds)}hundert" if hundreds else ""
    if rest < 20:
        return word + (GERMAN[rest] if rest or not hundreds else "")
    tens, units = divmod(rest, 10)
    return word + (f"{_unit(units)}und" if units else "") + GERMAN_TENS[tens - 2]


def number_pairs(split: str) -> Iterator[tuple[str, str]]:
    """The pairs of a split, (English, German)."""
    # Only raw bits are taken from NumPy: these never change between its versions (NEP 19).
    bits = np.random.PCG64(np.random.SeedSequence(SEED))
    order = np.argsort(bits.random_raw(MOST * MOST), kind="stable")
    several = order[(order // MOST > 1) & (order % MOST > 1)]  # neither none nor one, which would change the words
    words = bits.random_raw(sum(PAIRS.values()))
    first = 0
    for name, n in PAIRS.items():
        if name == split:
            chosen = zip(several[first : first + n].tolist(), words[first : first + n].tolist(), strict=True)
            yield from (_pair(numbers // MOST, numbers % MOST, draw) for numbers, draw in chosen)
        first += n


def _pair(some: int, price: int, draw: int) -> tuple[str, str]:
    """The sentence with two numbers and the words that `draw` picks."""
    picked: list[Any] = []  # (English, German), or a name, which is the same in both
    for words in (TIMES, NAMES, VERBS, ADJECTIVES, NOUNS):
        draw, place = divmod(draw, len(words))
        picked.append(words[place])
    (time, zeit), name, (verb, tat), (adjective, wie), (noun, was) = picked
    return (
        f"{time} {name} {verb} {english(some)} {adjective} {noun} for {english(price)} euros.",
        f"{zeit} {tat} {name} {german(some)} {wie} {was} für {german(price)} Euro.",
    )


def _unit(number: int) -> str:
    return "ein" if number == 1 else GERMAN[number]
