"""Numbers in words, against words that people write."""

import pytest

from data.number_words import MOST, PAIRS, english, german, number_pairs

WRITTEN = {
    0: ("zero", "null"),
    1: ("one", "eins"),
    12: ("twelve", "zwölf"),
    16: ("sixteen", "sechzehn"),
    21: ("twenty-one", "einundzwanzig"),
    30: ("thirty", "dreißig"),
    77: ("seventy-seven", "siebenundsiebzig"),
    100: ("one hundred", "einhundert"),
    101: ("one hundred and one", "einhunderteins"),
    342: ("three hundred and forty-two", "dreihundertzweiundvierzig"),
    999: ("nine hundred and ninety-nine", "neunhundertneunundneunzig"),
}


@pytest.mark.parametrize("number", WRITTEN)
def test_words(number):
    assert (english(number), german(number)) == WRITTEN[number]


def test_no_two_numbers_have_the_same_words():
    numbers = range(MOST)
    assert len({english(n) for n in numbers}) == len({german(n) for n in numbers}) == len(numbers)


def test_splits_are_apart_and_made_again():
    splits = {split: list(number_pairs(split)) for split in PAIRS}
    assert {split: len(pairs) for split, pairs in splits.items()} == PAIRS
    every = [pair for pairs in splits.values() for pair in pairs]
    assert len(set(every)) == len(every)
    assert list(number_pairs("test")) == splits["test"]
    assert splits["test"][0] == (
        "Today Emma bought three hundred and sixteen new flowers for nine hundred and twenty-seven euros.",
        "Heute kaufte Emma dreihundertsechzehn neue Blumen für neunhundertsiebenundzwanzig Euro.",
    )
