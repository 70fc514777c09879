"""Two groups of values compared where people meet items: values of one person are alike, and values of one item too.

The pigeonhole bootstrap (Owen 2007) draws people and items anew, both, and weighs a value by how often its person and
its item were drawn. So an interval is for other people and other items like these. Its variance is never too small
and up to the variance of a single value's own noise too large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
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
    """Mean or median of each group and the difference, with 95% intervals: replicas' standard error times Student's t
    on one degree of freedom less than there are people or items, whichever are fewer.

    A person or an item may be in both groups; then they are drawn together. `bounds` are what a value can be: a group
    without any variation, of which replicas show none either, has an interval of 3/n of them to either side (rule of
    three).
    """
    assert one, "nothing to compare"
    assert other, "nothing to compare with"
    statistic, span = _mean if of == "mean" else _median, bounds[1] - bounds[0]
    people = _draws({each.person for each in (*one, *other)}, seed, draws)
    items = _draws({each.item for each in (*one, *other)}, seed + 1, draws)
    a, b = (_found(group, statistic, people, items, span) for group in (one, other))
    apart = _Found(a.value - b.value, a.replicas - b.replicas, min(a.n, b.n), math.hypot(a.unseen, b.unseen))
    return Contrast(one=_estimate(a, bounds), other=_estimate(b, bounds), difference=_estimate(apart, (-span, span)))


@dataclass(frozen=True, slots=True)
class _Found:
    """A statistic, and what it was in each draw."""

    value: float
    replicas: Floats
    n: int
    unseen: float
    """Half of the interval that draws cannot show."""


def _found(group: Sequence[Value], statistic: Statistic, people: Draws, items: Draws, span: float) -> _Found:
    values = np.array([each.value for each in group], dtype=np.float64)
    by_person, by_item = ([people.at[each.person] for each in group], [items.at[each.item] for each in group])
    step = max(1, AT_ONCE // len(group))
    weights = (
        people.counts[start : start + step, by_person] * items.counts[start : start + step, by_item]
        for start in range(0, len(people.counts), step)
    )
    replicas = np.concatenate([statistic(values, part) for part in weights])
    n = min(len(set(by_person)), len(set(by_item)))
    unseen = span * min(1.0, 3 / n) if np.ptp(values) == 0 else 0.0
    return _Found(float(statistic(values, np.ones((1, len(values))))[0]), replicas, n, unseen)


def _estimate(found: _Found, bounds: Bounds) -> Estimate:
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, max(1, found.n - 1)))
    half = math.hypot(reach * float(np.nanstd(found.replicas)), found.unseen)
    low, high = max(bounds[0], found.value - half), min(bounds[1], found.value + half)
    return Estimate(value=found.value, low=low, high=high, n=found.n, mde=REACH * half / reach)


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each of several was drawn."""

    at: Mapping[Hashable, int]
    counts: Floats
    """[draw, one of them]."""


def _draws(those: set[Hashable], seed: int, draws: int) -> Draws:
    count = len(those)
    counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return Draws({key: place for place, key in enumerate(sorted(those, key=repr))}, counts.astype(np.float64))


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
