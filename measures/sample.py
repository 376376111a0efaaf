"""Text from a model, one token at a time, with the cached decoder."""

import codecs
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from synchrony_blocks.sampling import continued

# A byte of text must not command the terminal: control characters are shown as their Unicode pictures.
CONTROLS = (
    {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"} | {127: 0x2421} | dict.fromkeys(range(128, 160), 0xFFFD)
)


def sample(
    model: nn.Module,
    prompt: Sequence[int],
    n_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield `n_tokens` tokens that follow those of `prompt`, at least one, each as soon as it is drawn.

    The model must be in eval mode. Arguments and what is raised: see `synchrony_blocks.sampling.continued`.
    """
    tokens = torch.tensor([list(prompt)], dtype=torch.int64, device=next(model.parameters()).device)
    for token in continued(model, tokens, n_tokens, temperature=temperature, top_p=top_p, generator=generator):
        yield int(token)


def decoded(stream: Iterable[bytes]) -> Iterator[str]:
    """Bytes as text, each character as soon as it is whole; what is not UTF-8 becomes U+FFFD, controls are visible."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in stream:
        if text := decoder.decode(piece):
            yield text.translate(CONTROLS)
    if text := decoder.decode(b"", final=True):
        yield text.translate(CONTROLS)
