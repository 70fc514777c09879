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


def test_the_standard_error_is_that_of_people_where_they_alone_differ():
    """Five people on one item each: the items never differ apart from them. By the bootstrap the variance of a mean of
    n values is their population variance over n, and people and items drawn both have it twice over here."""
    said = [0.0, 0.0, 1.0, 1.0, 1.0]
    one = values(*((person, 0, value) for person, value in enumerate(said)))
    other = values(*((person, 1, 0.0) for person in range(5)))
    found = contrast(one, other, draws=20_000)
    error = (np.var(said) / 5) ** 0.5
    reach = (found.one.high - found.one.value) / stats.t.ppf(0.975, 1)  # one item: one degree of freedom, at least
    assert found.one.high == 1.0  # which reaches further than a share can
    wide = contrast(one, other, bounds=(-100, 100), draws=20_000).one
    assert (wide.high - wide.value) / stats.t.ppf(0.975, 1) == pytest.approx(error, rel=0.05)
    assert reach < error


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


@pytest.mark.parametrize("repeats", [60, pytest.param(400, marks=pytest.mark.proof)])
@pytest.mark.parametrize(("people", "items", "spread"), [(5, 10, 0.0), (6, 20, 1.0), (15, 12, 1.5)])
def test_the_interval_holds_the_truth_often_enough(people: int, items: int, spread: float, repeats: int):
    """People and items both differ by `spread` in log-odds, and help raises a chance by nothing: 0 is the truth."""
    held = 0
    for seed in range(repeats):
        chance = np.random.default_rng(seed)
        odds = chance.normal(0.8, spread, people)[:, None] + chance.normal(0, spread, items)
        right = chance.random((people, items)) < 1 / (1 + np.exp(-odds))
        helped = chance.random((people, items)) < 0.5
        sides = [
            values(*((p, i, float(right[p, i])) for p, i in np.argwhere(helped == side).tolist()))
            for side in (True, False)
        ]
        found = contrast(*sides, seed=seed, draws=300).difference
        held += found.low <= 0 <= found.high
    assert held / repeats > (0.9 if repeats < 100 else 0.94)
