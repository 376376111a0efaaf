"""Beam search against the same search written with lists, one sentence and one hypothesis at a time."""

import math

import pytest
import torch

from measures.beam_search import beam_search, length_penalty

V, EOS = 12, 0


class Toy:
    """p(next token) from a fixed table of the last two tokens and the sum of the source: no network."""

    def __init__(self, seed: int = 0, end: float = 0.0):
        generator = torch.Generator().manual_seed(seed)
        self.table = 2 * torch.randn(7, V, V, V, generator=generator)
        self.table[..., EOS] += end

    def logits(self, source_sum: int, tokens: list[int]) -> torch.Tensor:
        before = tokens[-2] if len(tokens) > 1 else 1
        return self.table[source_sum % 7, before, tokens[-1]]

    def encode(self, source, source_mask=None):
        return (source * source_mask).sum(1, keepdim=True)

    def init_cache(self, memory, source_mask=None):
        return [{"memory": memory, "tokens": memory.new_empty(len(memory), 0)}]

    def step(self, token, cache):
        (cache,) = cache
        cache["tokens"] = torch.cat((cache["tokens"], token[:, None]), dim=1)
        rows = zip(cache["memory"][:, 0].tolist(), cache["tokens"].tolist(), strict=True)
        return torch.stack([self.logits(*row) for row in rows]), [cache]


def searched(model: Toy, source: list[int], beam: int, alpha: float, more: int) -> list[tuple[tuple[int, ...], float]]:
    """The search of one sentence from its rule: (tokens, log p), the best first."""
    beams, found, longest = [((), 0.0)], [], len(source) + more
    for n in range(1, longest + 1):
        options = []
        for tokens, log_p in beams:
            log_probabilities = model.logits(sum(source), [EOS, *tokens]).double().log_softmax(-1).tolist()
            for token, value in enumerate(log_probabilities):
                if n < longest or token == EOS:
                    options.append((log_p + value, tokens, token))
        options.sort(key=lambda option: -option[0])
        for log_p, tokens, token in options[:beam]:
            if token == EOS and len(found) < beam:
                found.append((tokens, log_p, log_p / length_penalty(n, alpha)))
        if len(found) >= beam:
            break
        beams = [((*tokens, token), log_p) for log_p, tokens, token in options if token != EOS][:beam]
    return [(tokens, log_p) for tokens, log_p, _ in sorted(found, key=lambda one: -one[2])]


SENTENCES = [[3, 4, 5, EOS], [1, EOS], [2, 2, 2, 2, 2, 9, EOS], [7, 1, EOS]]


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, SENTENCES))
    source = torch.tensor([[*s, *[0] * (width - len(s))] for s in SENTENCES])
    mask = torch.tensor([[True] * len(s) + [False] * (width - len(s)) for s in SENTENCES])
    return source, mask


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("beam", [1, 2, 4])
@pytest.mark.parametrize("end", [-3.0, 0.0, 3.0])  # translations that end late, at the longest length too, and early
def test_many_at_once_are_those_found_one_by_one(beam, alpha, end):
    model = Toy(seed=beam, end=end)
    found = beam_search(model, *padded(), EOS, beam, alpha, more_tokens=3)
    for sentence, translations in zip(SENTENCES, found, strict=True):
        wanted = searched(model, sentence, beam, alpha, more=3)
        assert [one.tokens for one in translations] == [tokens for tokens, _ in wanted]
        assert [one.log_probability for one in translations] == pytest.approx([log_p for _, log_p in wanted])
        for one in translations:
            assert one.score == pytest.approx(one.log_probability / ((5 + len(one.tokens) + 1) / 6) ** alpha)
            assert EOS not in one.tokens and len(one.tokens) < len(sentence) + 3


def test_one_beam_is_greedy():
    model = Toy(seed=5)
    for sentence, (one,) in zip(SENTENCES, beam_search(model, *padded(), EOS, beam=1, more_tokens=20), strict=True):
        tokens = [EOS]
        while len(tokens) - 1 < len(sentence) + 19:
            tokens.append(int(model.logits(sum(sentence), tokens).argmax()))
            if tokens[-1] == EOS:
                break
        assert one.tokens == tuple(token for token in tokens[1:] if token != EOS)


def test_all_beams_find_what_is_likeliest():
    """With as many beams as there are beginnings and no penalty the search is exhaustive."""
    model = Toy(seed=1, end=1.0)
    source, mask = padded()
    (best, *_), *_ = beam_search(model, source[1:2], mask[1:2], EOS, beam=V - 1, alpha=0.0, more_tokens=0)
    ends = model.logits(1, [EOS]).double().log_softmax(-1)
    two = {(): float(ends[EOS])}
    for token in range(1, V):
        two[(token,)] = float(ends[token] + model.logits(1, [EOS, token]).double().log_softmax(-1)[EOS])
    assert best.tokens == max(two, key=lambda tokens: two[tokens])
    assert best.log_probability == pytest.approx(max(two.values()))


def test_what_cannot_be_searched():
    with pytest.raises(ValueError, match="beam=0 is less than 1"):
        beam_search(Toy(), *padded(), EOS, beam=0)
    with pytest.raises(ValueError, match="beam=12 is not less than the 12 tokens"):
        beam_search(Toy(), *padded(), EOS, beam=V)


def test_the_length_penalty_is_that_of_its_paper():
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 0.6) == pytest.approx(2**0.6)
    assert math.isclose(length_penalty(30, 0.0), 1.0)
