"""Text from a model, one token at a time, with the cached decoder."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# A byte of text must not command the terminal: control characters are shown as their Unicode pictures.
CONTROLS = (
    {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"} | {127: 0x2421} | dict.fromkeys(range(128, 160), 0xFFFD)
)


@torch.no_grad()
def sample(
    model: nn.Module,
    prompt: Sequence[int],
    n_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield `n_tokens` tokens that follow those of `prompt`, at least one, each as soon as it is drawn.

    The model must be in eval mode. `temperature` 0 takes the likeliest token. `top_p` keeps the fewest likeliest tokens
    that together hold at least this probability (nucleus sampling, arXiv 1904.09751). `generator` is on the CPU; the
    same seed gives the same tokens. Positions go on beyond the context of training. ValueError for an empty prompt.
    """
    device = next(model.parameters()).device
    step: Any = model.step
    init_cache: Any = model.init_cache
    cache = init_cache(1)
    pending = list(prompt)
    if not pending:
        raise ValueError(
            "a prompt has at least one token: that which a text is taken to follow, where nothing is typed"
        )
    for _ in range(n_tokens):
        for token in pending:
            logits, cache = step(torch.tensor([token], device=device), cache)
        token = draw(logits[0], temperature, top_p, generator)
        yield token
        pending = [token]


def draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> int:
    """One token from logits (V,); see `sample`. On the CPU in float64, so that a seed means the same everywhere."""
    logits = logits.detach().to("cpu", torch.float64)
    if temperature == 0:
        return int(logits.argmax())
    # The maximum is taken off first: dividing by a small temperature must not overflow.
    probability, token = torch.softmax((logits - logits.max()) / temperature, dim=0).sort(descending=True, stable=True)
    before = probability.cumsum(0) - probability
    nucleus = torch.where(before < top_p, probability, 0.0)
    return int(token[torch.multinomial(nucleus, 1, generator=generator)])


def decoded(stream: Iterable[bytes]) -> Iterator[str]:
    """Bytes as text, each character as soon as it is whole; what is not UTF-8 becomes U+FFFD, controls are visible."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in stream:
        if text := decoder.decode(piece):
            yield text.translate(CONTROLS)
    if text := decoder.decode(b"", final=True):
        yield text.translate(CONTROLS)
