"""A number line for marks inside a table's cell: values in, percentages of its width out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from burnish.types import Estimate


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, with `parts` equal steps marked."""

    low: float
    high: float
    parts: int = 2

    def at(self, value: float) -> str:
        """Where a value stands, as a CSS percentage; beyond the ends it stands at the end."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def ticks(self) -> list[float]:
        return [self.low + (self.high - self.low) * step / self.parts for step in range(self.parts + 1)]


SHARES = Axis(0.0, 1.0, 4)


def accuracies(estimates: Iterable[Estimate]) -> Axis:
    """For shares of pairs put in order: from 40%, or lower where an interval goes there, to 100%, in steps of 20."""
    least = min((estimate.low for estimate in estimates), default=0.4)
    below = min(2, math.floor(least * 5))
    return Axis(below / 5, 1.0, 5 - below)


def around_zero(estimates: Iterable[Estimate]) -> Axis:
    """A symmetric axis that holds all intervals, with round ends."""
    reach = max([abs(end) for estimate in estimates for end in (estimate.low, estimate.high)], default=1.0) or 1.0
    return Axis(-_round_up(reach), _round_up(reach), 2)


def holding(estimates: Iterable[Estimate]) -> Axis:
    """An axis for scores without natural ends, that holds all intervals."""
    ends = [end for estimate in estimates for end in (estimate.low, estimate.high)]
    step = _round_up((max(ends) - min(ends) or 1.0) / 4)
    return Axis(math.floor(min(ends) / step) * step, math.ceil(max(ends) / step) * step, 2)


def _round_up(value: float) -> float:
    """The next round number: two digits at most."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * nice for nice in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * nice >= value * (1 - 1e-9))
