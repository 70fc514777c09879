"""People crossed with items: figures worked out by hand, and how often the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from burnish.stats.crossed import Value, contrast


def values(*rows: tuple[int, int, float]) -> list[Value]:
    return [Value(person=person, item=item, value=value) for person, item, value in rows]


def grid(people: int, items: int, value: float) -> list[Value]:
    return values(*((person, item, value) for person in range(people) for item in range(items)))


def test_means_and_their_difference():
    one = values((0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0))
    other = values((0, 2, 0), (1, 2, 1))
    found = contrast(one, other)
    assert (found.one.value, found.other.value, found.difference.value) == (0.75, 0.5, 0.25)
    assert (found.one.n, found.other.n, found.difference.n) == (2, 1, 1)
    assert 0 <= found.one.low <= 0.75 <= found.one.high <= 1
    assert -1 <= found.difference.low <= 0.25 <= found.difference.high <= 1


def test_medians_are_of_the_middle():
    one = values((0, 0, 10), (1, 1, 30), (2, 2, 80))
    other = values((0, 0, 10), (1, 1, 20), (2, 2, 40), (3, 3, 1000))
    found = contrast(one, other, "median", bounds=(0, 3600))
    assert (found.one.value, found.other.value, found.difference.value) == (30, 30, 0)


def test_the_standard_error_is_that_of_people_where_they_alone_are_many():
    """Five people on one item: a mean of n values has the variance of the values over n."""
    said = [0.0, 0.0, 1.0, 1.0, 1.0]
    one = values(*((person, 0, value) for person, value in enumerate(said)))
    other = values(*((person, 1, 0.0) for person in range(5)))
    found = contrast(one, other, bounds=(-100, 100), draws=20_000).one
    reach = stats.t.ppf(0.975, 1)  # of one item, the fewer: one degree of freedom at least
    assert (found.high - found.value) / reach == pytest.approx((np.var(said, ddof=1) / 5) ** 0.5, rel=0.05)
    assert (found.value, found.n) == (0.6, 1)


def test_items_that_deceive_everybody_widen_it():
    """The same share wrong: spread over items, or all of it on a few of them."""
    spread = values(*((p, i, float((p + i) % 5 > 0)) for p in range(10) for i in range(10)))
    heaped = values(*((p, i, float(i % 5 > 0)) for p in range(10) for i in range(10)))
    ones = [contrast(group, grid(10, 10, 0.5)).one for group in (spread, heaped)]
    assert [each.value for each in ones] == [0.8, 0.8]
    assert ones[1].high - ones[1].low > 1.5 * (ones[0].high - ones[0].low)


def test_no_variation_is_no_certainty():
    found = contrast(grid(6, 12, 1.0), grid(6, 12, 0.0))
    assert (found.one.low, found.one.high) == (0.5, 1.0)  # 3 of 6 to either side
    assert (found.other.low, found.other.high) == (0.0, 0.5)
    assert found.difference.value == 1
    assert found.difference.low == pytest.approx(1 - 0.5 * 2**0.5)


def test_one_group_against_itself_differs_by_nothing():
    mixed = values(*((person, item, float((person + item) % 3 == 0)) for person in range(8) for item in range(9)))
    found = contrast(mixed, mixed).difference
    assert (found.value, found.low, found.high) == (0, 0, 0), "drawn together: what they share falls out"


@pytest.mark.parametrize("repeats", [40, pytest.param(400, marks=pytest.mark.proof)])
@pytest.mark.parametrize(("people", "items", "help"), [(5, 10, 0.0), (15, 12, 0.0), (10, 20, 1.0)])
def test_the_interval_holds_the_truth_often_enough(people: int, items: int, help: float, repeats: int):
    """People and items differ by 1 in log-odds, and by `help` in what help does to them: on average nothing."""
    held = 0
    for seed in range(repeats):
        chance = np.random.default_rng(seed)
        odds, by = (
            chance.normal(0, spread, people)[:, None] + chance.normal(0, spread, items) for spread in (1.0, help)
        )
        helped = chance.random((people, items)) < 0.5
        right = chance.random((people, items)) < 1 / (1 + np.exp(-odds - by * helped))
        sides = [
            values(*((p, i, float(right[p, i])) for p, i in np.argwhere(helped == side).tolist()))
            for side in (True, False)
        ]
        found = contrast(*sides, seed=seed, draws=200).difference
        held += found.low <= 0 <= found.high
    assert held / repeats > (0.85 if repeats < 100 else 0.93)
