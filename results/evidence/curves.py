"""Validation loss along training, from run records: points of one number of bytes, and the loss between them."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from configs.errors import UserError
from training.run_record.record import RunRecord

Curve = list[tuple[int, float]]  # (tokens, bits per byte) of each validation


def curve_bytes(records: Sequence[RunRecord]) -> int:
    """The commonest number of bytes in the records' validations; 0 where there is none."""
    commonest = Counter(row["bytes"] for record in records for row in record.rows("validation")).most_common(1)
    return int(commonest[0][0]) if commonest else 0


def curve(record: RunRecord, n_bytes: int) -> Curve:
    """The validations on so many bytes: losses on more or fewer bytes of a split are not comparable."""
    rows = record.rows("validation")
    return [(row["tokens"], row["bits_per_byte"]) for row in rows if row["bytes"] == n_bytes]


def loss_after(curve: Curve, tokens: float) -> float | None:
    """Bits per byte after so many tokens, linear in their logarithm between validations; None outside of the curve."""
    if not curve or not curve[0][0] <= tokens <= curve[-1][0]:
        return None
    return float(np.interp(math.log(tokens), [math.log(at) for at, _ in curve], [bits for _, bits in curve]))


def validation_curves(records: Sequence[RunRecord]) -> list[Curve]:
    """Each record's validations on their `curve_bytes`. UserError for records without any."""
    if not records or not all(record.rows("validation") for record in records):
        raise UserError("a figure needs at least one validation of every run; let them train further")
    n_bytes = curve_bytes(records)
    curves = [curve(record, n_bytes) for record in records]
    if not all(curves):
        without = [
            f"{record.config['model']['name']} seed {record.seed}"
            for record, points in zip(records, curves, strict=True)
            if not points
        ]
        raise UserError(
            f"the runs were validated on different numbers of bytes: most on {n_bytes:,}, and never on that many "
            f"{', '.join(without)}; train them with one trainer.val_bytes"
        )
    return curves
