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
    """`nats(h (t, D), y (t,)) -> (t, ...)` of hidden (..., D) and targets (...): as many tokens at once as keep
    t x vocabulary_size numbers within `MOST_LOGITS`, and one at least.
    """
    flat, wanted = hidden.flatten(0, -2), targets.flatten()
    size = max(1, MOST_LOGITS // vocabulary_size)
    if len(wanted) <= size:
        return nats(flat, wanted).unflatten(0, targets.shape)
    parts = []
    for part in zip(flat.split(size), wanted.split(size), strict=True):
        again = torch.is_grad_enabled()  # nothing in a readout is random
        parts.append(checkpoint(nats, *part, use_reentrant=False, preserve_rng_state=False) if again else nats(*part))
    return torch.cat(parts).unflatten(0, targets.shape)


def cross_entropy(readout: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, vocabulary_size: int) -> Tensor:
    """Loss in nats (...) of each target (...) int64, 0 where it is `IGNORE`, from final states hidden (..., D).

    `readout`: (t, D) -> logits (t, V).
    """

    def nats(h: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(widened(readout(h)), y, ignore_index=IGNORE, reduction="none")

    return in_chunks(nats, hidden, targets, vocabulary_size)


def smoothed_cross_entropy(
    readout: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, vocabulary_size: int, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Two losses in nats, each (...): with labels smoothed, (1 - eps) of the target's loss and eps of the mean over the
    vocabulary (arXiv 1512.00567, section 7), and without. Arguments as for `cross_entropy`.
    """

    def both(h: Tensor, y: Tensor) -> Tensor:
        z = widened(readout(h))
        real = y != IGNORE
        log_sum = z.logsumexp(-1)
        nats = log_sum - z.gather(-1, y.where(real, 0)[:, None])[:, 0]
        smoothed = (1 - label_smoothing) * nats + label_smoothing * (log_sum - z.mean(-1))
        return torch.stack((smoothed, nats), dim=-1).where(real[:, None], 0.0)

    smoothed, nats = in_chunks(both, hidden, targets, vocabulary_size).unbind(-1)
    return smoothed, nats


def widened(logits: Tensor) -> Tensor:
    """Logits in float32 where they are in less: sums over a vocabulary need it."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
