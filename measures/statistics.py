"""All statistics of this project. ± is a 95 % interval everywhere; an estimate says over what: seeds, text, or both.

Seeds are drawn at random, so a mean over them has Student's t interval, and the difference of two models Welch's. Runs
of one seed see the same windows in the same order, but pairing them leaves 102 % of the variance (on the committed
records), so seeds are not paired. Text is not drawn at random: neighbouring windows are often of one article, and an
error over single windows was 2.5 times too small. So an interval over text is a jackknife over 50 contiguous blocks,
and two models on the same text are compared block by block, which leaves 3 % of the variance. All are our choice.

Legend: S seeds, K blocks, n_k targets (or bytes) of block k, L_k their summed loss, R = sum_k L_k / sum_k n_k.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.counted import counted

CONFIDENCE = 0.95
BLOCKS = 50  # contiguous blocks that a text is cut into; fewer where it has fewer windows
FEWEST_BLOCKS = 8  # with targets, that an interval needs (our choice): of fewer a jackknife says too little
NOT_SIGNIFICANT = "not significant"


@dataclass(frozen=True)
class Estimate:
    """A value (nan without data) and half the width of its 95 % interval (nan where there are too few to tell)."""

    value: float
    half_width: float = math.nan
    over: str = "seeds"  # what the interval is over: "seeds", "text", "text and seeds"

    @property
    def side(self) -> str:
        """Of a difference: "below" or "above" zero where the whole interval is, else "not significant"; "one seed"
        where there is no interval over seeds, "no interval" where there is none over text.
        """
        if math.isnan(self.half_width):
            return "one seed" if self.over == "seeds" else "no interval"
        if abs(self.value) <= self.half_width:
            return NOT_SIGNIFICANT
        return "below" if self.value < 0 else "above"

    def shown(self, sign: str = "", digits: int = 4) -> str:
        """`2.2389 ± 0.0144`, without an interval where there is none. `sign="+"` for differences. Empty if nan."""
        if math.isnan(self.value):
            return ""
        half = "" if math.isnan(self.half_width) else f" ± {self.half_width:.{digits}f}"
        return f"{self.value:{sign}.{digits}f}{half}"


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """The mean, with Student's t interval over the seeds; without one for fewer than two, nan for none."""
    if not values:
        return Estimate(math.nan)
    n = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(float(np.mean(values)), half_width(error, n))


def difference_over_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Estimate | None:
    """Mean of ours minus mean of theirs, with Welch's t interval; None where one has no seed.

    Where a model has a single seed there is no interval.
    """
    if not ours or not theirs:
        return None
    value = float(np.mean(ours) - np.mean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return Estimate(value)
    # Not scipy.stats.ttest_ind, which warns of seeds that are equal: s^2 / S of each, and Welch's degrees of freedom.
    ours_2, theirs_2 = (float(np.var(x, ddof=1)) / len(x) for x in (ours, theirs))
    variance = ours_2 + theirs_2
    if variance == 0:
        return Estimate(value, 0.0)
    degrees = variance**2 / (ours_2**2 / (len(ours) - 1) + theirs_2**2 / (len(theirs) - 1))
    return Estimate(value, _t(degrees) * math.sqrt(variance))


def shown_mean(values: Mapping[int, float], wanted: int, digits: int = 4) -> str:
    """`mean ± 95 % interval` over seeds ({seed: value}), with how many of the wanted seeds there are if some lack."""
    if not values:
        return "not run"
    text = mean_over_seeds(list(values.values())).shown(digits=digits)
    return text if len(values) == wanted else f"{text} ({len(values)} of {counted(wanted, 'seed')})"


def shown_difference(ours: Mapping[int, float], theirs: Mapping[int, float], wanted: int, digits: int = 4) -> str:
    """The difference of two models over seeds, its 95 % interval and what it says; empty where one has no seed."""
    difference = difference_over_seeds(list(ours.values()), list(theirs.values()))
    if difference is None:
        return ""
    text = f"{difference.shown('+', digits)} {difference.side}"
    fewest = min(len(ours), len(theirs))
    return text if fewest == wanted else f"{text} ({len(ours)} and {len(theirs)} of {counted(wanted, 'seed')})"


def block_of_window(n_windows: int) -> np.ndarray:
    """The contiguous block of each of a text's windows, (n_windows,) int64 below K; K is 50, or n_windows if fewer."""
    return np.arange(n_windows, dtype=np.int64) * min(BLOCKS, n_windows) // max(1, n_windows)


def standard_error(sums: np.ndarray, counts: np.ndarray) -> float:
    """The jackknife's standard error of R over blocks, from sums (K,) and counts (K,); nan for fewer than 8 blocks.

    sqrt((K - 1) / K sum_k (R_k - mean R_k)^2), R_k being R of all blocks but k (Efron 1982).
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    K = len(counts)
    if K < FEWEST_BLOCKS:
        return math.nan
    without = (sums.sum() - sums) / (counts.sum() - counts)
    return math.sqrt((K - 1) / K * ((without - without.mean()) ** 2).sum())


def half_width(standard_error: float, n: int) -> float:
    """Half of the 95 % interval of a mean of n blocks or seeds with this standard error: Student's t, n - 1 degrees."""
    return math.nan if n < 2 else _t(n - 1) * standard_error


def _t(degrees: float) -> float:
    """Student's t that leaves 2.5 % above it."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def mean_over_text(sums: np.ndarray, counts: np.ndarray) -> Estimate:
    """R of sums (K,) and counts (K,), with its interval over the blocks that have targets."""
    total = counts.sum()
    if total == 0:
        return Estimate(math.nan, over="text")
    error = standard_error(sums, counts)
    return Estimate(float(sums.sum() / total), half_width(error, int((counts > 0).sum())), "text")


def difference_over_text(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> Estimate:
    """R of ours minus R of theirs, means over seeds, from sums (S, K) and (S', K) on the same targets, counts (K,).

    Where one of the two has a single seed, the interval is over the text: what another text of this kind would change,
    not what another seed would. With several seeds of both it holds both: half the width is that over the text (of the
    means over seeds, block by block) and that over the seeds (Welch) as the root of the sum of squares. Our choice,
    the wider reading: it is never narrower than either.
    """
    over_text = mean_over_text(ours.mean(0) - theirs.mean(0), counts)
    if math.isnan(over_text.value) or min(len(ours), len(theirs)) < 2:
        return over_text
    total = counts.sum()
    over_seeds = difference_over_seeds((ours.sum(1) / total).tolist(), (theirs.sum(1) / total).tolist())
    assert over_seeds is not None
    both = math.hypot(over_text.half_width, over_seeds.half_width)
    return replace(over_text, half_width=both, over="text and seeds")
