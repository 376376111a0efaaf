"""Mean losses and paired differences with 95 % intervals, from sums over contiguous blocks of one text.

Legend: K blocks, n_k the bytes of block k, L_k their summed loss. A mean is R = sum_k L_k / sum_k n_k.
"""

import math
import statistics
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
FEWEST = 8  # blocks with bytes that an interval needs (our choice): of fewer a jackknife says too little
UNKNOWN = "cannot be told"


@dataclass(frozen=True)
class Estimate:
    """A value, nan without bytes, and half the width of its 95 % interval, nan where there are too few blocks."""

    value: float
    half_width: float

    @property
    def side(self) -> str:
        """Where the whole interval lies: below zero, above it, or it cannot be told."""
        if self.value + self.half_width < 0:
            return "below"
        return "above" if self.value - self.half_width > 0 else UNKNOWN


def mean_loss(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """R of sums (K,) and counts (K,); its interval is a jackknife over the blocks that have bytes, with Student's t."""
    sums, counts = sums[counts > 0], counts[counts > 0]
    blocks, total = len(counts), counts.sum()
    if blocks == 0:
        return Estimate(math.nan, math.nan)
    value = float(sums.sum() / total)
    if blocks < FEWEST:
        return Estimate(value, math.nan)
    without = (sums.sum() - sums) / (total - counts)  # R of all blocks but one
    error = math.sqrt((blocks - 1) / blocks * ((without - without.mean()) ** 2).sum())
    return Estimate(value, _t(blocks - 1) * error)


def paired_difference(sums: np.ndarray, base: np.ndarray, counts: np.ndarray) -> Estimate:
    """Mean over S seeds of R - R_base, from the sums (S, K) of both on the same bytes, counts (K,).

    With one seed the interval tells what another text of this kind would change, not what another seed would. With
    several it holds both: half the width is that of the text (jackknife over blocks of the mean over seeds) and that of
    the seeds (Student's t over their differences) as the root of the sum of squares. Our choice, the wider reading: it
    is never narrower than either. With two seeds t is 12.7, so little can be told then.
    """
    over_text = mean_loss((sums - base).mean(0), counts)
    if len(sums) == 1 or math.isnan(over_text.value):
        return over_text
    differences = ((sums - base).sum(1) / counts.sum()).tolist()
    over_seeds = _t(len(sums) - 1) * statistics.stdev(differences) / math.sqrt(len(sums))
    return Estimate(over_text.value, math.hypot(over_text.half_width, over_seeds))


def _t(degrees: int) -> float:
    """Student's t that leaves 2.5 % above it."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))
