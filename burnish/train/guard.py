"""Stops a run before an update that would spoil its weights. Knows a step's loss, its gradient and its rows.

Two rules. A loss or a gradient that is not finite always stops. With `spike`, so does one whose size is more than so
many times the median size of the last `WINDOW` steps. The median, because a mean would be moved by the very values that
it should tell apart; sizes, because the loss of some objectives lies around zero. Off unless asked for: where a loss
goes to zero, as a preference loss may, ten times next to nothing is no harm, and clipping bounds what one step can do.

Where answers are sampled and compared, the loss tells nothing: at the weights that sampled them advantages add up to
zero, and what is left is rounding. The gradient is judged alone then (`losses`). A value of exactly 0 is never counted:
it is that of a step without anything to learn, as of prompts whose answers are all as good, and says nothing of others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from torch import Tensor

from burnish.batches import Batch
from burnish.errors import Problem, TrainingError

WINDOW = 50
"""Steps that a value is compared with."""
FEWEST = 10
"""Steps without which there is nothing to compare with."""


class Guard:
    """Remembers the last steps' values, and raises TrainingError naming step and rows."""

    def __init__(self, spike: float | None = None, *, losses: bool = True) -> None:
        """`spike`: see above. `losses`: whether it is for losses too, or for gradients alone."""
        self._spike = spike
        self._losses = losses
        self._seen: dict[str, list[float]] = {}

    def finite(self, what: str, value: float, step: int, batches: Sequence[Batch]) -> None:
        """Raises where a value of this step is no finite number."""
        if not math.isfinite(value):
            raise _stopped(step, f"the {what} is {value}", batches, "lower lr")

    def usual(self, step: int, batches: Sequence[Batch], **values: float) -> None:
        """Raises where a value of this step is a spike; else it counts as one of those that are usual."""
        values = {what: value for what, value in values.items() if what != "loss" or self._losses}
        for what, value in values.items():
            before = self._seen.setdefault(what, [])
            usual = median(before) if len(before) >= FEWEST else math.inf
            if self._spike is not None and abs(value) > self._spike * usual:
                found = f"the {what} is {value:.3g}, and its median over the last {len(before)} steps {usual:.3g}"
                raise _stopped(step, found, batches, f"set spike higher than {self._spike:g}")
        for what, value in values.items():
            if value:
                self._seen[what] = [*self._seen[what], abs(value)][-WINDOW:]

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return dict(self._seen), {}

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._seen = {what: [value for value in seen if value] for what, seen in values.items()}


def _stopped(step: int, found: str, batches: Sequence[Batch], mend: str) -> TrainingError:
    rows = [row for batch in batches for row in batch.rows]
    shown = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
    return TrainingError(
        Problem(
            f"step {step}",
            f"{found}; rows of this step: {shown}",
            f"The update was not made and the last checkpoint is good. Look at these rows, or {mend}.",
        )
    )
