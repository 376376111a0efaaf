"""Sentences into sentences: what `beam_search` finds, as text.

Our choice: sentences of similar length are searched together, which changes nothing but the time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from data.joint_tokenizer import JointTokenizer
from data.translation_batches import encode_source
from measures.beam_search import Translation, beam_search

Translated = list[tuple[str, Translation]]  # the best first


def translate(
    model: nn.Module,
    tokenizer: JointTokenizer,
    sentences: Sequence[str],
    context: int,
    beam: int = 4,
    alpha: float = 0.6,
    batch_size: int = 64,
    precision: str = "32",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Translated]:
    """The `beam` best translations of each sentence, in their order; one of an empty sentence is empty.

    A sentence of more than `context` tokens, <eos> counted, keeps the first ones. The model must be in eval mode.
    `on_progress(done, total)` is told the sentences. ValueError as of `beam_search`.
    """
    searched: Any = model
    device = next(model.parameters()).device
    empty = [("", Translation((), 0.0, 0.0))]
    found: list[Translated] = [empty for _ in sentences]
    lengths = [len(tokens) for tokens in tokenizer.encode_sentences(sentences)] if sentences else []
    order = sorted((n for n, text in enumerate(sentences) if text.strip()), key=lambda n: -lengths[n])
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        source, mask = encode_source(tokenizer, [sentences[n] for n in chosen], context)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            translations = beam_search(searched, source.to(device), mask.to(device), tokenizer.eos, beam, alpha)
        for n, of_it in zip(chosen, translations, strict=True):
            # A sentence is one line, whatever tokens the model writes.
            found[n] = [(" ".join(tokenizer.sentence(one.tokens).splitlines()), one) for one in of_it]
        if on_progress is not None:
            on_progress(first + len(chosen), len(order))
    return found
