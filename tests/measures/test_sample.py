"""Sampling against models whose next-byte probabilities are known."""

from collections import Counter

import pytest
import torch
from torch import nn

from baseline import Transformer
from measures.sample import decoded, sample
from synchrony_blocks.sampling import draw


class Markov(nn.Module):
    """The next byte depends on the last one alone: row b of `logits` (256, 256)."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.seen = []

    def init_cache(self, batch_size):
        self.seen = []
        return batch_size

    def prefill(self, tokens, cache):
        self.seen += tokens.flatten().tolist()
        return self.logits[tokens[:, -1]], cache

    def step(self, token, cache):
        self.seen += token.tolist()
        return self.logits[token], cache


@pytest.fixture
def successor():
    """The byte after b is b + 1 with logit 2, b + 2 with logit 1, others with logit -9."""
    logits = torch.full((256, 256), -9.0)
    rows = torch.arange(256)
    logits[rows, (rows + 1) % 256] = 2.0
    logits[rows, (rows + 2) % 256] = 1.0
    return Markov(logits)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_temperature_0_takes_the_likeliest_byte(successor):
    assert bytes(sample(successor, b"xa", 4, temperature=0)) == b"bcde"
    assert bytes(successor.seen) == b"xabcd"  # each byte is fed once, the last one not at all


def test_an_empty_prompt_is_refused(successor):
    with pytest.raises(ValueError, match="at least one token"):
        next(sample(successor, [], 2))


def test_the_same_seed_gives_the_same_bytes(successor):
    first, again, other = (list(sample(successor, b"a", 50, generator=seeded(seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_bytes_come_one_at_a_time(successor):
    stream = sample(successor, b"a", 10**9, temperature=0)
    assert [next(stream), next(stream)] == [98, 99]
    assert torch.is_grad_enabled()  # also between two bytes


def test_no_tokens(successor):
    assert list(sample(successor, b"a", 0)) == []


def test_frequencies_follow_the_temperature():
    logits, n = torch.tensor([1.0, 0.0, -1.0]), 4000
    generator = seeded(0)
    counts = Counter(draw(logits.expand(n, 3), 0.5, None, 1.0, generator).tolist())
    for token, probability in enumerate(torch.softmax(logits / 0.5, 0).tolist()):
        sigma = (probability * (1 - probability) / n) ** 0.5
        assert counts[token] / n == pytest.approx(probability, abs=4 * sigma)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.1, {1}), (0.5, {1}), (0.55, {1, 3}), (0.85, {1, 3, 0}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_tokens_that_hold_enough(top_p, kept):
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()
    generator = seeded(0)
    assert set(draw(logits.expand(600, 4), 1.0, None, top_p, generator).tolist()) == kept


def test_top_k_keeps_the_likeliest_and_top_p_is_of_these():
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().expand(600, 4)
    assert set(draw(logits, 1.0, 2, 1.0, seeded(0)).tolist()) == {1, 3}
    assert set(draw(logits, 1.0, 2, 0.5, seeded(0)).tolist()) == {1}  # 0.4 of 0.7 is more than half
    assert set(draw(logits, 1.0, 9, 1.0, seeded(0)).tolist()) == {0, 1, 2, 3}


def test_top_p_keeps_the_proportions_within_the_nucleus():
    logits, n = torch.tensor([0.2, 0.5, 0.3]).log(), 4000
    generator = seeded(0)
    counts = Counter(draw(logits.expand(n, 3), 1.0, None, 0.75, generator).tolist())
    assert counts[1] / n == pytest.approx(0.5 / 0.8, abs=0.03)
    assert counts[0] == 0


def test_extreme_logits_and_temperatures_stay_finite():
    assert draw(torch.tensor([[1e4, -1e4, 9e3]]), 1e-6, None, 0.9, seeded(0)) == 0
    assert draw(torch.tensor([[0.0, float("-inf")]]), 1.0, None, 1.0, seeded(0)) == 0


def test_greedy_text_is_that_of_the_full_forward_pass():
    torch.manual_seed(0)
    model = Transformer(d_model=32, n_layers=2, n_heads=2).eval()
    written = list(sample(model, b"def ", 20, temperature=0))
    text = torch.tensor([[*b"def ", *written]])
    with torch.no_grad():
        assert written == model(text)[0, 3:-1].argmax(-1).tolist()


def test_characters_come_when_they_are_whole():
    assert list(decoded(bytes([byte]) for byte in "aé€".encode())) == ["a", "é", "€"]
    assert list(decoded(["aé".encode()[:2], "é€".encode()[1:]])) == ["a", "é€"]
    assert "".join(decoded([b"a\xffb\xc3"])) == "a�b�"


def test_text_cannot_command_the_terminal():
    assert "".join(decoded([b"\x1b[2J\r\x7f\n\t\xc2\x9b"])) == "␛[2J␍␡\n\t�"
