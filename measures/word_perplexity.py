"""Perplexity per word of text, whatever the tokens.

PPL = exp(total nats / words), where words are runs of bytes that are not ASCII white space, and one more, <eos>, at the
end of each line: on WikiText the official count. A model of words predicts each of these, so it is its own perplexity.
Of a model of bytes or subwords it is word-normalised: such a model also has to tell where words end, and none is <unk>.
"""

import math

import numpy as np

CHUNK = 1 << 22  # bytes looked at at a time
SPACES = np.isin(np.arange(256), np.frombuffer(b" \t\n\r\x0b\x0c", np.uint8))  # what bytes.split() cuts at
NEWLINE = 10


def words_in(text: np.ndarray) -> int:
    """Words of a text, (n,) uint8, ends of lines among them. A word that its end cuts is one."""
    n_words, in_word = 0, False
    for start in range(0, len(text), CHUNK):
        chunk = text[start : start + CHUNK]
        of_word = np.concatenate(([in_word], ~SPACES[chunk]))
        n_words += int((of_word[1:] & ~of_word[:-1]).sum()) + int((chunk == NEWLINE).sum())
        in_word = bool(of_word[-1])
    return n_words


def word_perplexity(nats: float, n_targets: int, n_words: int) -> float:
    """PPL of a loss (`nats`, mean over `n_targets` targets) on text of so many words."""
    return math.exp(nats * (n_targets / n_words))


def shown_perplexity(value: float) -> str:
    """In four significant digits: 35.46, 1,234, 1.235e+12."""
    return f"{value:.4g}" if value >= 1e6 else f"{float(f'{value:.4g}'):,g}"


def by_word(
    text: np.ndarray, of_words: bool, nats: float, n_targets: int, n_words: int | None = None
) -> dict[str, int | float]:
    """What a row or an entry tells of a loss on a text, (n,) uint8: `words`, and `word_perplexity` of a model whose
    tokens are words (`of_words`), `word_normalised_perplexity` of any other. `n_words`: a count to go by instead. A
    perplexity that no float64 holds, of a model that diverged, is left out.
    """
    n_words = words_in(text) if n_words is None else n_words
    key = "word_perplexity" if of_words else "word_normalised_perplexity"
    try:
        return {"words": n_words, key: word_perplexity(nats, n_targets, n_words)}
    except OverflowError:
        return {"words": n_words}
