"""What a model recalls of strings: loss and accuracy at the symbols that are scored."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from data.strings import Strings
from data.windows import IGNORE
from synchrony_blocks.cross_entropy import MOST_LOGITS


@dataclass(frozen=True)
class Recall:
    """On so many strings of `context` symbols each, of which `targets` in all are scored."""

    context: int
    strings: int
    targets: int
    nats: float  # per scored symbol
    accuracy: float  # share of scored symbols that are the likeliest to the model


def recall(
    model: nn.Module,
    strings: Strings,
    context: int,
    n_strings: int,
    split: str = "validation",
    batch_size: int = 64,
    precision: str = "32",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Recall:
    """What `model` recalls of the first `n_strings` strings of a split, `context` symbols long. Sums are in float64.

    `seed`: of the split train. `batch_size` (strings per forward pass) changes speed and memory, not the result.
    `on_progress(done, total)` is told the scored symbols of this rank. With `world_size` > 1 every rank calls this and
    all get the result of all strings.
    """
    device = next(model.parameters()).device
    fitting = max(1, min(batch_size, MOST_LOGITS // (context * strings.vocabulary_size)))
    first, last = n_strings * rank // world_size, n_strings * (rank + 1) // world_size
    sums = torch.zeros(3, dtype=torch.float64, device=device)  # nats, symbols that are right, symbols
    scored = strings.scored(context)
    was_training = model.training
    model.eval()
    try:
        # Not inference_mode: what a layer keeps from call to call (rotary tables) must stay usable in training.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            for start in range(first, last, fitting):
                stop = min(start + fitting, last)
                inputs, targets = (part.to(device) for part in strings.made(split, context, start, stop, seed))
                logits, wanted = model(inputs)[targets != IGNORE].float(), targets[targets != IGNORE]  # (targets, V)
                nats = F.cross_entropy(logits, wanted, reduction="none").double().sum()
                right = (logits.argmax(-1) == wanted).sum()
                sums += torch.stack((nats, right.double(), torch.full_like(nats, len(wanted))))
                if on_progress is not None:
                    on_progress((stop - first) * scored, (last - first) * scored)
    finally:
        model.train(was_training)
    if world_size > 1:
        dist.all_reduce(sums)
    nats_sum, right_sum, targets_sum = sums.tolist()
    return Recall(context, n_strings, round(targets_sum), nats_sum / targets_sum, right_sum / targets_sum)
