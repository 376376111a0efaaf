"""Tokens that follow others: drawn one after another, with the cached step of a language model.

Legend: B rows, N tokens of a prompt, V vocabulary.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from synchrony_blocks import checks
from synchrony_blocks.cache import reserve


@torch.no_grad()
def continued(
    model: Any,
    prompt: Tensor,
    n_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield `n_tokens` times a token (B,) for each row of prompt (B, N) int64, as soon as it is drawn.

    `model` has `init_cache`, `step` and perhaps `prefill` (synchrony_blocks/decoder.py). `temperature` 0 takes the
    likeliest token. `top_k` keeps so many of the likeliest, and `top_p` the fewest of these that together hold at
    least this probability (nucleus sampling, arXiv 1904.09751). `generator` is on the CPU; the same seed gives the
    same tokens. Positions go on beyond the context of training. Raises ValueError for a prompt without a token and
    for numbers out of range, TypeError for what is no number or no tensor.
    """
    checks.prompt("prompt", prompt)
    checks.whole("n_tokens", n_tokens, 0)
    checks.number("temperature", temperature, lambda x: 0 <= x < math.inf, "is not a number from 0 on")
    checks.whole("top_k", top_k, 1, optional=True)
    checks.number("top_p", top_p, lambda p: 0 < p <= 1, "is not above 0 and at most 1")
    if not n_tokens:
        return
    cache = model.init_cache(len(prompt))
    reserve(cache, prompt.shape[1] + n_tokens)
    if hasattr(model, "prefill"):
        logits, cache = model.prefill(prompt, cache)
    else:
        for token in prompt.unbind(1):
            logits, cache = model.step(token, cache)
    for left in range(n_tokens, 0, -1):
        token = draw(logits, temperature, top_k, top_p, generator).to(prompt.device)
        yield token
        if left > 1:
            logits, cache = model.step(token, cache)


def draw(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float, generator: torch.Generator | None
) -> Tensor:
    """A token (B,) for each row of logits (B, V); see `continued`. On the CPU in float64, so that a seed means the same
    everywhere.
    """
    logits = logits.detach().to("cpu", torch.float64)
    if temperature == 0:
        return logits.argmax(-1)
    # The maximum is taken off first: dividing by a small temperature must not overflow.
    odds = torch.softmax((logits - logits.amax(-1, keepdim=True)) / temperature, dim=-1)
    probability, token = odds.sort(descending=True, stable=True)
    if top_k is not None:
        probability[:, top_k:] = 0
        probability /= probability.sum(-1, keepdim=True)
    before = probability.cumsum(-1) - probability
    nucleus = torch.where(before < top_p, probability, 0.0)
    return token.gather(-1, torch.multinomial(nucleus, 1, generator=generator))[:, 0]
