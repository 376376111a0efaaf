"""Scores of translations against references: sacreBLEU's, and the BLEU of older papers under a name of its own.

`bleu` is sacreBLEU's with its 13a tokenizer, `chrf` its chrF2, each with the signature that tells how it was counted
(Post 2018, "A Call for Clarity in Reporting BLEU Scores"). `bleu_tokenised` is what arXiv 1706.03762 reports on WMT-14:
translation and reference tokenised by Moses' rules, compounds split at hyphens, then BLEU of these tokens. It is the
larger of the two, so the two must never be in one column.

The interval is sacreBLEU's bootstrap over sentences. Of two systems the paired bootstrap tells whether they differ
(Koehn 2004).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

RESAMPLES = 1000  # of the bootstrap, sacreBLEU's default
HYPHEN = re.compile(r"(\S)-(\S)")


@dataclass(frozen=True)
class Scores:
    """0 to 100. `bleu_interval`: half the width of the 95 % bootstrap interval over sentences, around `bleu_mean`."""

    bleu: float
    bleu_signature: str
    bleu_mean: float
    bleu_interval: float
    chrf: float
    chrf_signature: str
    bleu_tokenised: float
    sentences: int


def scores(translations: Sequence[str], references: Sequence[str], language: str) -> Scores:
    """Scores of translations in `language`, "de" say, each with one reference. ValueError for unequal numbers, none."""
    from sacrebleu.metrics import BLEU, CHRF

    _same_number(translations, references)
    bleu, chrf = BLEU(), CHRF()
    with_interval = bleu.corpus_score(translations, [references], n_bootstrap=RESAMPLES)
    by_character = chrf.corpus_score(translations, [references])
    return Scores(
        bleu=float(with_interval.score),
        bleu_signature=str(bleu.get_signature()),
        bleu_mean=float(with_interval._mean),
        bleu_interval=float(with_interval._ci),
        chrf=float(by_character.score),
        chrf_signature=str(chrf.get_signature()),
        bleu_tokenised=bleu_tokenised(translations, references, language),
        sentences=len(references),
    )


def bleu_tokenised(translations: Sequence[str], references: Sequence[str], language: str) -> float:
    """BLEU of Moses' tokens with compounds split, as older papers report WMT-14: 0 to 100."""
    from sacrebleu.metrics import BLEU

    _same_number(translations, references)
    both = [[_tokenised(line, language) for line in lines] for lines in (translations, references)]
    # The tokens are made already: force tells sacreBLEU that it is meant.
    return float(BLEU(tokenize="none", force=True).corpus_score(both[0], [both[1]]).score)


@dataclass(frozen=True)
class Compared:
    """BLEU of another system minus that of a baseline. `p`: the probability of a difference at least as large if both
    were equally good.
    """

    difference: float
    p: float


def paired_bootstrap(baseline: Sequence[str], other: Sequence[str], references: Sequence[str]) -> Compared:
    """Whether two systems differ on the same sentences, by sacreBLEU's paired bootstrap. ValueError as `scores`."""
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    for translations in (baseline, other):
        _same_number(translations, references)
    if list(baseline) == list(other):
        return Compared(0.0, 1.0)  # the test would find that no resample differs by less, p = 1 / (resamples + 1)
    named: Any = [("baseline", list(baseline)), ("other", list(other))]
    _, found = PairedTest(named, {"BLEU": BLEU(references=[list(references)])}, None, "bs", RESAMPLES)()
    results: Any = found["BLEU"]
    first, second = results
    return Compared(float(second.score - first.score), float(second.p_value))


def _tokenised(line: str, language: str) -> str:
    tokens: str = _moses(language).tokenize(line, return_str=True, escape=False)
    return HYPHEN.sub(r"\1 ##AT##-##AT## \2", tokens)  # once, as the published script: a-b-c is split at its first


@cache
def _moses(language: str) -> Any:
    from sacremoses import MosesTokenizer

    return MosesTokenizer(lang=language)


def _same_number(translations: Sequence[str], references: Sequence[str]) -> None:
    if len(translations) != len(references) or not references:
        raise ValueError(f"{len(translations)} translations and {len(references)} references: give as many, not none")
