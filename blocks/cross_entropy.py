"""Cross-entropy over a large vocabulary, read in chunks of tokens so that few logits are held at once.

nats_t = log sum_v exp(z_tv) - z_{t, y_t}, z_t = readout(h_t). Each chunk's logits are made again in the backward pass
(torch.utils.checkpoint), which costs one more product with the readout and gives the same values and gradients.

Legend: T tokens, D width of a state, V vocabulary, y targets.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 2**26  # numbers of one tensor of logits, 256 MiB of float32 (our choice)
IGNORE = -100  # target where nothing is to be predicted, torch's default and that of data/windows.py


def exceeds_bound(n_tokens: int, vocabulary_size: int) -> bool:
    """Whether the logits of so many tokens are more than `MOST_LOGITS` numbers."""
    return n_tokens * vocabulary_size > MOST_LOGITS


def in_chunks(
    nats: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, targets: Tensor, vocabulary_size: int
) -> Tensor:
    """`nats(h (t, D), y (t,)) -> (t,)` of hidden (..., D) and targets (...): as many tokens at once as keep
    t x vocabulary_size numbers within `MOST_LOGITS`, and one at least.
    """
    flat, wanted = hidden.flatten(0, -2), targets.flatten()
    size = max(1, MOST_LOGITS // vocabulary_size)
    if len(wanted) <= size:
        return nats(flat, wanted).view_as(targets)
    parts = []
    for part in zip(flat.split(size), wanted.split(size), strict=True):
        again = torch.is_grad_enabled()  # nothing in a readout is random
        parts.append(checkpoint(nats, *part, use_reentrant=False, preserve_rng_state=False) if again else nats(*part))
    return torch.cat(parts).view_as(targets)


def cross_entropy(
    readout: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    vocabulary_size: int,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Loss in nats (...) of each target (...) int64, 0 where it is `IGNORE`, from final states hidden (..., D).

    `readout`: (t, D) -> logits (t, V). `label_smoothing`: that of torch's cross_entropy.
    """

    def nats(h: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(
            widened(readout(h)), y, ignore_index=IGNORE, reduction="none", label_smoothing=label_smoothing
        )

    return in_chunks(nats, hidden, targets, vocabulary_size)


def widened(logits: Tensor) -> Tensor:
    """Logits in float32 where they are in less: sums over a vocabulary need it."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
