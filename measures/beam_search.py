"""Beam search: the translations of least cost that a translator finds, many sentences and hypotheses at a time.

Hypotheses of a sentence are ranked by log p(Y | X) / lp(Y) with lp(Y) = ((5 + |Y|) / 6)^alpha, |Y| tokens with <eos>
(arXiv 1609.08144, eq. 14; arXiv 1706.03762 takes beam 4 and alpha 0.6, and as many tokens as the source and 50 more).
Until a sentence has `beam` translations that ended, its `beam` best beginnings go on; an end counts where it is among
the `beam` best of all continuations (fairseq's rule). With one beam this is greedy search.

Legend: S sentences, K beams, B = rows (S K), M source tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from synchrony_blocks.cross_entropy import widened
from synchrony_blocks.translator import reorder

MORE_TOKENS = 50  # that a translation may have than its source (arXiv 1706.03762)


class Searched(Protocol):
    """The model that is searched: `synchrony_blocks.translator.Translator`, or another with these methods."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """(S, M) -> (S, M, D)."""

    def init_cache(self, memory: Tensor, source_mask: Tensor | None = None) -> Any:
        """What `step` keeps."""

    def step(self, token: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits (B, V) after one more token (B,)."""


@dataclass(frozen=True)
class Translation:
    """Tokens without <eos>, and what the model thinks of them."""

    tokens: tuple[int, ...]
    log_probability: float  # log p(Y | X), natural, that of <eos> with it
    score: float  # log p(Y | X) / lp(Y)


def length_penalty(n_tokens: int, alpha: float) -> float:
    """lp(Y) of so many tokens, <eos> counted."""
    return float(((5 + n_tokens) / 6) ** alpha)


@torch.no_grad()
def beam_search(
    model: Searched,
    source: Tensor,
    source_mask: Tensor,
    eos: int,
    beam: int = 4,
    alpha: float = 0.6,
    more_tokens: int = MORE_TOKENS,
) -> list[list[Translation]]:
    """For each of the S sentences of source (S, M), source_mask (S, M), its `beam` translations, the best first.

    A translation has at most as many tokens as its source, `<eos>` in both, and `more_tokens` more; the last one is
    then <eos> whatever the model predicts. The model must be in eval mode. log p of tokens are in float32, sums in
    float64. ValueError for less than one beam or as many as there are tokens.
    """
    n_sentences, device = len(source), source.device
    if beam < 1:
        raise ValueError(f"beam={beam} is less than 1")
    longest = (source_mask.sum(1) + more_tokens).tolist()
    found: list[list[Translation]] = [[] for _ in range(n_sentences)]
    rows = torch.arange(n_sentences, device=device).repeat_interleave(beam)
    cache = model.init_cache(model.encode(source, source_mask)[rows], source_mask[rows])
    token = torch.full((len(rows),), eos, device=device)
    # At first the beams of a sentence are the same beginning: all but the first are left out.
    log_p = torch.tensor([0.0] + [-torch.inf] * (beam - 1), dtype=torch.float64, device=device).repeat(n_sentences, 1)
    begun = torch.empty(len(rows), 0, dtype=torch.int64, device=device)
    active = list(range(n_sentences))  # sentences that are still searched, in the order of the rows
    while active:
        logits, cache = model.step(token, cache)
        vocabulary = logits.shape[-1]
        if vocabulary <= beam:
            raise ValueError(f"beam={beam} is not less than the {vocabulary} tokens there are")
        n = begun.shape[1] + 1
        # The 2 K best continuations of a sentence, among which K do not end, are among the 2 K best of each row.
        log_probabilities = widened(logits).log_softmax(-1)
        values, candidates = log_probabilities.topk(min(2 * beam, vocabulary))
        last = torch.tensor([n >= longest[sentence] for sentence in active], device=device).repeat_interleave(beam)
        values = torch.where(last[:, None], -torch.inf, values)
        values[:, 0] = torch.where(last, log_probabilities[:, eos], values[:, 0])
        candidates[:, 0] = torch.where(last, eos, candidates[:, 0])
        continued = log_p[..., None] + values.view(len(active), beam, -1)  # (S, K, 2 K), float64
        best, where = continued.flatten(1).topk(2 * beam)
        from_beam = where // values.shape[-1]
        next_token = candidates.view(len(active), -1).gather(1, where)
        ends = next_token == eos
        penalty = length_penalty(n, alpha)
        keep: list[int] = []  # of `active`
        for i, (sentence, scores, beams, ended) in enumerate(
            zip(active, best.tolist(), from_beam.tolist(), ends.tolist(), strict=True)
        ):
            for score, row, end in list(zip(scores, beams, ended, strict=True))[:beam]:
                if end and score > -torch.inf and len(found[sentence]) < beam:
                    tokens = tuple(begun[i * beam + row].tolist())
                    found[sentence].append(Translation(tokens, score, score / penalty))
            if len(found[sentence]) < beam and n < longest[sentence]:
                keep.append(i)
        if not keep:
            break
        active = [active[i] for i in keep]
        kept = torch.tensor(keep, device=device)
        # The `beam` best that do not end, in their order: a stable sort puts those first.
        order = ends[kept].int().sort(dim=1, stable=True).indices[:, :beam]
        log_p, token = best[kept].gather(1, order), next_token[kept].gather(1, order).flatten()
        picked = (kept[:, None] * beam + from_beam[kept].gather(1, order)).flatten()
        cache = reorder(cache, picked)
        begun = torch.cat((begun[picked], token[:, None]), dim=1)
    return [sorted(translations, key=lambda one: -one.score) for translations in found]
