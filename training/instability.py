"""A warning while a run becomes unstable: the norm of its gradient has grown.

The rule is our choice, from the records of this project. The median norm of the last `ROWS` logged steps exceeds
`GROWTH` times its least value so far. Of 457 recorded runs on text, code and translation nine did that, all of them at
rates that proved too high; the norm of the others grew by less. Where a run learns in one sudden step (task=recall), a
norm grows without harm.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

from training.meter import Row

ROWS, GROWTH = 20, 3.0


class GradientWatch:
    """Calls `warn` with a step and one line, once. `advice`: what to type; `earlier`: rows of before a resume."""

    def __init__(self, warn: Callable[[int, str], None], advice: str, earlier: Sequence[Row] = ()) -> None:
        self._warn: Callable[[int, str], None] = lambda step, text: None
        self._advice = advice
        self._last: deque[float] = deque(maxlen=ROWS)
        self._least = math.inf
        self._warned = False
        for row in earlier:
            self.row(row)
        self._warn = warn

    def row(self, row: Row) -> None:
        """A row of the record, of training with `grad_norm` before clipping."""
        norm = row.get("grad_norm")
        if row["split"] != "train" or norm is None or self._warned:
            return
        self._last.append(float(norm))
        if len(self._last) < ROWS:
            return
        now = median(self._last)
        self._least = min(self._least, now)
        if now > GROWTH * self._least:
            self._warned = True
            self._warn(
                int(row["step"]),
                f"the gradient's norm has grown from {self._least:.2g} to {now:.2g}, so training may be unstable: "
                f"{self._advice}",
            )
