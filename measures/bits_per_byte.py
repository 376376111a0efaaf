"""From the loss per target to the loss per byte of text."""

import math


def bits_per_byte(nats: float, n_targets: int, n_bytes: int) -> float:
    """`nats` (mean over `n_targets` targets) in bits per byte, where the targets stand for `n_bytes` bytes of text."""
    return float(nats * (n_targets / n_bytes)) / math.log(2)
