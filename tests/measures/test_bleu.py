"""Scores of translations: against sacreBLEU's own command, and by hand."""

import pytest

from measures.bleu import bleu_tokenised, paired_bootstrap, scores

REFERENCES = ["Ein Mann fährt ein Auto.", "Die Katze sitzt auf der Matte.", "Zwei Hunde spielen im Ost-West-Park."] * 4
WORSE = ["Ein Mann fährt ein Rad.", "Eine Katze sitzt auf der Matte.", "Zwei Hunde spielen im Park."] * 4


def test_scores_are_sacrebleus():
    import sacrebleu

    found = scores(WORSE, REFERENCES, "de")
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(WORSE, [REFERENCES]).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(WORSE, [REFERENCES]).score)
    assert "tok:13a" in found.bleu_signature and "case:mixed" in found.bleu_signature
    assert found.sentences == 12
    assert 0 < found.bleu_interval < 30


def test_what_is_right_scores_100():
    found = scores(REFERENCES, REFERENCES, "de")
    assert (found.bleu, found.chrf, found.bleu_tokenised) == pytest.approx((100, 100, 100))
    assert found.bleu_interval == pytest.approx(0)


def test_older_papers_split_compounds():
    """Half a compound is right in their BLEU, and wrong in that of whole words."""
    whole, half = ["aa bb cc Ost-West dd ee"], ["aa bb cc Ost-Nord dd ee"]
    split = bleu_tokenised(half, whole, "de")
    import sacrebleu

    # By hand: tokens aa bb cc Ost ##AT##-##AT## West dd ee; of 8, 7, 6, 5 n-grams 7, 5, 4 - 1, 2 are found.
    expected = 100 * (7 / 8 * 5 / 7 * 3 / 6 * 2 / 5) ** 0.25
    assert split == pytest.approx(expected)
    assert split > sacrebleu.corpus_bleu(half, [whole]).score


def test_a_hyphen_at_an_end_is_not_split():
    assert bleu_tokenised(["aa bb cc dd -ee"], ["aa bb cc dd -ee"], "de") == pytest.approx(100)


def test_paired_bootstrap():
    better = paired_bootstrap(WORSE, REFERENCES, REFERENCES)
    assert better.difference > 20 and better.p < 0.05
    alike = paired_bootstrap(WORSE, list(WORSE), REFERENCES)
    assert (alike.difference, alike.p) == (0.0, 1.0)


def test_as_many_translations_as_references():
    with pytest.raises(ValueError, match="2 translations and 12 references"):
        scores(WORSE[:2], REFERENCES, "de")
    with pytest.raises(ValueError, match="0 translations and 0 references"):
        scores([], [], "de")
