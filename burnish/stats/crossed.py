"""Two groups of values compared where people meet items: values of one person are alike, and values of one item too.

The variance of a figure is that between people and that between items, less that between their meetings, which both
have in them (Cameron, Gelbach and Miller 2011), and no smaller than any of the three. Each is found by a bootstrap that
draws whole people, whole items, or single meetings. So an interval is for other people and other items like these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from burnish.stats.intervals import DRAWS, LEVEL, REACH
from burnish.types import Estimate

Floats = NDArray[np.float64]
Bounds = tuple[float, float]
Statistic = Callable[[Floats, Floats], Floats]
"""Of values, once for each row of weights."""
AT_ONCE = 4_000_000
"""Weights that are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One person's value on one item."""

    person: Hashable
    item: Hashable
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two groups and their difference. `n` of each is the smaller number, that of people or that of items."""

    one: Estimate
    other: Estimate
    difference: Estimate
    """one - other."""


def contrast(
    one: Sequence[Value],
    other: Sequence[Value],
    of: Literal["mean", "median"] = "mean",
    *,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    draws: int = DRAWS,
) -> Contrast:
    """Mean or median of each group and the difference, with 95% intervals: standard error times Student's t on one
    degree of freedom less than there are people or items, whichever are fewer.

    A person, an item or a meeting may be in both groups; then it is drawn for both. `bounds` are what a value can be: a
    group without any variation, of which no draw shows any either, has an interval of 3/n of them to either side (rule
    of three).
    """
    assert one, "nothing to compare"
    assert other, "nothing to compare with"
    statistic, span = _mean if of == "mean" else _median, bounds[1] - bounds[0]
    said = [*one, *other]
    values, second = np.array([each.value for each in said], dtype=np.float64), np.arange(len(said)) >= len(one)
    alike = ([each.person for each in said], [each.item for each in said], [(each.person, each.item) for each in said])
    chance = np.random.default_rng(seed)
    people, items, meetings = (_variances(values, second, statistic, each, chance, draws) for each in alike)
    errors = np.sqrt(np.max([people + items - meetings, people, items, meetings], axis=0))
    found = [float(statistic(values[side], np.ones((1, int(side.sum()))))[0]) for side in (~second, second)]
    n = [min(len({each.person for each in group}), len({each.item for each in group})) for group in (one, other)]
    unseen = [
        span * min(1.0, 3 / count) if np.ptp(values[side]) == 0 else 0.0
        for count, side in zip(n, (~second, second), strict=True)
    ]
    return Contrast(
        one=_estimate(found[0], errors[0], n[0], unseen[0], bounds),
        other=_estimate(found[1], errors[1], n[1], unseen[1], bounds),
        difference=_estimate(found[0] - found[1], errors[2], min(n), math.hypot(*unseen), (-span, span)),
    )


def _estimate(value: float, error: float, n: int, unseen: float, bounds: Bounds) -> Estimate:
    """`unseen` is half of the interval that draws cannot show."""
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, max(1, n - 1)))
    half = math.hypot(reach * float(error), unseen)
    low, high = max(bounds[0], value - half), min(bounds[1], value + half)
    return Estimate(value=value, low=low, high=high, n=n, mde=REACH * half / reach)


def _variances(
    values: Floats,
    second: NDArray[np.bool_],
    statistic: Statistic,
    alike: Sequence[Hashable],
    chance: np.random.Generator,
    draws: int,
) -> Floats:
    """Of the first group's figure, the second's and the difference, where those that are alike are drawn together. A
    bootstrap of k of them shows (k - 1)/k of it."""
    places = {key: place for place, key in enumerate(dict.fromkeys(alike))}
    at, count = np.array([places[key] for key in alike]), len(places)
    step = max(1, AT_ONCE // len(values))
    parts: list[Floats] = []
    for start in range(0, draws, step):
        drawn = chance.multinomial(count, np.full(count, 1 / count), size=min(step, draws - start))
        weights = drawn[:, at].astype(np.float64)
        sides = [statistic(values[side], weights[:, side]) for side in (~second, second)]
        parts.append(np.stack([*sides, sides[0] - sides[1]]))
    return np.nanvar(np.concatenate(parts, axis=1), axis=1) * count / max(1, count - 1)


def _mean(values: Floats, weights: Floats) -> Floats:
    """Of each row of weights; not a number where all are 0."""
    total = weights.sum(1)
    return np.divide(weights @ values, total, out=np.full(len(total), np.nan), where=total > 0)


def _median(values: Floats, weights: Floats) -> Floats:
    """The middle of the two values that half of the weight lies below and above."""
    order = np.argsort(values, kind="stable")
    below = weights[:, order].cumsum(1)
    total = below[:, -1:]
    low, high = ((below >= total / 2).argmax(1), (below > total / 2).argmax(1))
    found = (values[order][low] + values[order][high]) / 2
    return np.where(total[:, 0] > 0, found, np.nan)
