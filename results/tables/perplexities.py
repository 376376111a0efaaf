"""Columns of perplexity per word, where words were counted."""

from collections.abc import Mapping
from typing import Any

from measures.statistics import shown_mean

PER_WORD = {
    "word_perplexity": "perplexity per word",
    "word_normalised_perplexity": "word-normalised perplexity",
}


def perplexities(rows: Mapping[str, Mapping[int, Mapping[str, Any]]], variant: str, seeds: int) -> dict[str, str]:
    """The cells of a variant: a column for each kind of perplexity that any row has. `rows`: variant -> seed -> row."""
    return {
        column: shown_mean({seed: row[key] for seed, row in rows[variant].items() if key in row}, seeds, 2)
        for key, column in PER_WORD.items()
        if any(key in row for of_variant in rows.values() for row in of_variant.values())
    }
