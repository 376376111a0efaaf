"""Copy depth and distance against loops written from the definition."""

import numpy as np
import pytest

from measures.longest_match import copy_depth


def brute_force(window):
    """Every length and every earlier end, longest and nearest first."""
    depth, distance = [], []
    for i in range(len(window)):
        found = (0, 0)
        for L in range(i, 0, -1):  # the match ends before i, so it has at most i bytes
            for j in range(i - 1, L - 2, -1):  # j - L + 1 >= 0: inside the window
                if list(window[j - L + 1 : j + 1]) == list(window[i - L + 1 : i + 1]) and found == (0, 0):
                    found = (L, i - j)
        depth.append(found[0])
        distance.append(found[1])
    return depth, distance


def check(window):
    window = np.frombuffer(window, dtype=np.uint8) if isinstance(window, bytes) else window
    depth, distance = copy_depth(window)
    expected = brute_force(window)
    assert (depth.tolist(), distance.tolist()) == (expected[0], expected[1]), bytes(window)


@pytest.mark.parametrize("alphabet", [1, 2, 3, 5, 256])
def test_random_strings(alphabet):
    generator = np.random.default_rng(alphabet)
    for _ in range(30):
        check(generator.integers(0, alphabet, size=generator.integers(0, 25), dtype=np.uint8))


def test_every_binary_string_of_nine():
    for bits in range(2**9):
        check(np.array([bits >> k & 1 for k in range(9)], dtype=np.uint8))


@pytest.mark.parametrize(
    "window", [b"", b"a", b"aaaaaaaaaaaa", b"abcabcabcabcab", b"abaababaabaababaababa", b"\0\0\xff\0\0"]
)
def test_periodic_equal_and_short_strings(window):
    check(window)


def test_by_hand():
    depth, distance = copy_depth(np.frombuffer(b"the cat. the dog", dtype=np.uint8))
    assert depth.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4, 0, 0, 0]  # 4: "the " predicts the c of cat
    assert distance.tolist() == [0, 0, 0, 0, 0, 0, 6, 0, 5, 3, 9, 9, 9, 0, 0, 0]  # 3: the t of cat is the nearer one
