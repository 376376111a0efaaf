"""How much of validation occurs verbatim in training: the share of its strings of 64 bytes that occur there.

Copies (licences, tables, pages made from one template) make a loss lower than it is on unseen text, most for a model
that learns by heart. The share shows how large that effect may be; it is printed before a run and in its record.

Legend: w a 64-byte string as 8 words of 64 bits; its hash is the polynomial sum_j w_j A^(8-j) modulo 2^64.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from configs.heartbeat import doing
from data.atomic_write import write_whole
from data.corpus import Corpus

LENGTH = 64  # bytes of a string, about a line of text (our choice)
MOST = 500_000  # strings looked up; more would move the share by less than it says
CHUNK = 1 << 15  # positions of training hashed at once: few enough for a processor's cache
A = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits mixed: 2^64 over the golden ratio


def with_overlap(corpus: Corpus) -> Corpus:
    """The corpus with its overlap in `source`. Counted once per content and cut, then read from beside the content."""
    starts = "-".join(str(start) for start, _ in corpus.splits.values())
    path = corpus.path.with_name(f"overlap-{corpus.sha256}-{starts}.json")
    try:
        facts = json.loads(path.read_bytes())
        if set(facts) != {"share", "length", "stride"}:
            raise ValueError("not what this writes")
    except (OSError, ValueError, TypeError):
        doing("counting what of validation occurs in training")
        facts = overlap(corpus.text("train"), corpus.text("validation"))
        with suppress(OSError):  # a cache that takes no files: it is counted again next time
            write_whole(path.parent, lambda file: (file.write(json.dumps(facts).encode()), path.name)[1])
    return replace(corpus, source={**corpus.source, "overlap": facts})


def overlap(training: np.ndarray, validation: np.ndarray) -> dict[str, Any]:
    """{share, length, stride} of two splits, (n,) uint8; the share is of validation's 64-byte strings, one in `stride`.

    The stride is 1 up to 500,000 strings. Every position of training is looked at, and what is found by hash is
    compared byte by byte. Tens of megabytes of memory, about 3 s for 90 MB on one core. 0.0 where a split is shorter
    than a string. Our choice.
    """
    stride = max(1, -(-(len(validation) - LENGTH + 1) // MOST))
    told = {"share": 0.0, "length": LENGTH, "stride": stride}
    if min(len(training), len(validation)) < LENGTH:
        return told
    wanted = np.ascontiguousarray(_strings(validation)[::stride])
    hashes, first, of_wanted = np.unique(_hashes(list(wanted.view("<u8").T)), return_index=True, return_inverse=True)
    # Of 32 flags one is set, so that most positions of training need no search among the hashes.
    shift = np.uint64(64 - 5 - len(hashes).bit_length())
    flags = np.zeros(1 << (64 - int(shift)), dtype=bool)
    flags[hashes >> shift] = True
    occurs = np.zeros(len(hashes), dtype=bool)
    for start in range(0, len(training) - LENGTH + 1, CHUNK):
        chunk = np.ascontiguousarray(training[start : start + CHUNK + LENGTH - 1])
        n = len(chunk) - LENGTH + 1
        words = np.ndarray((len(chunk) - 7,), dtype="<u8", buffer=chunk, strides=(1,))  # the 8 bytes at each position
        here = _hashes([words[j : j + n] for j in range(0, LENGTH, 8)])
        at = np.flatnonzero(flags[here >> shift])
        which = np.searchsorted(hashes, here[at]).clip(max=len(hashes) - 1)
        new = (hashes[which] == here[at]) & ~occurs[which]
        at, which = at[new], which[new]
        occurs[which[(_strings(chunk)[at] == wanted[first[which]]).all(1)]] = True
    return told | {"share": float(occurs[of_wanted].mean())}


def _strings(split: np.ndarray) -> np.ndarray:
    """Every 64-byte string of (n,) uint8: (n - 63, 64), a view."""
    return np.lib.stride_tricks.sliding_window_view(split, LENGTH)


def _hashes(words: Sequence[np.ndarray]) -> np.ndarray:
    """Hashes (n,) uint64 of n strings, given their first words (n,), their second words, and so on."""
    h = words[0] * A
    for word in words[1:]:
        h += word
        h *= A
    return h
