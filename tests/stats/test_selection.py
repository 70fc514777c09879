"""Choosing what to ask: what is worth asking, by hand, and that chances of choice make estimates unbiased."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from burnish.stats.selection import Floats, choose, disagreement, information


def pairs(*columns: Sequence[float]) -> list[Floats]:
    """Items of one pair: what each member says of it."""
    return [np.array(column, dtype=np.float64)[:, None] for column in columns]


def numbered(count: int) -> list[Floats]:
    return [np.full((1, 1), float(place)) for place in range(count)]


def last(items: Sequence[Floats], count: int) -> list[int]:
    return list(range(len(items) - count, len(items)))


def test_disagreement_by_hand():
    items = pairs((1.0, 0.0), (0.5, 0.5), (0.9, 0.9), (0.9, 0.1))
    assert disagreement(items, 4) == [0, 3, 1, 2]
    assert disagreement([np.array([[1.0, 0.5], [0.0, 0.5]]), np.array([[0.8], [0.2]])], 2) == [1, 0], (
        "a mean over pairs"
    )


def test_information_is_what_an_answer_says_of_all_items():
    """The second item is disputed less than the first, but two others hang on it."""
    items = pairs((1.0, 0.0, 0.5, 0.5), (0.5, 0.5, 0.8, 0.2), (0.5, 0.5, 0.8, 0.2), (0.5, 0.5, 0.2, 0.8))
    assert disagreement(items, 1) == [0]
    worth = [0.125**2 / 0.25, 3 * 0.045**2 / 0.25]  # variances 0.125 and 0.045, an answer's 0.25
    assert worth[0] > worth[1]
    assert information(items, 1) == [0]
    many = pairs((1.0, 0.0, 0.5, 0.5), *[(0.5, 0.5, 0.8, 0.2)] * 8)
    assert 8 * 0.045**2 > 0.125**2
    assert information(many, 1) == [1]


def test_what_resembles_a_choice_comes_later():
    items = pairs((1.0, 0.0, 0.5, 0.5), (0.99, 0.01, 0.5, 0.5), (0.5, 0.5, 0.95, 0.05))
    assert disagreement(items, 2) == [0, 1]
    assert information(items, 2) == [0, 2]


def test_where_members_agree_there_is_nothing_to_learn():
    items = pairs((0.5, 0.5), (0.9, 0.9), (0.4, 0.6))
    assert information(items, 1) == [2]
    assert sorted(information(items, 9)) == [0, 1, 2]


def test_what_is_settled_is_what_the_rule_of_conditioning_says():
    """Against the covariances worked out whole: the second choice is the best by the conditioned ones."""
    rng = np.random.default_rng(0)
    chances = rng.random((50, 12))
    cov, mean = np.cov(chances.T, bias=True), chances.mean(0)
    varies = mean * (1 - mean)
    first = int(np.argmax((cov**2).sum(1) / varies))
    left = cov - np.outer(cov[first], cov[first]) / varies[first]
    worth = (left**2).sum(1) / varies
    worth[first] = -1
    assert information(pairs(*chances.T), 2) == [first, int(np.argmax(worth))]


def test_the_best_and_a_floor_of_the_rest():
    found = choose(numbered(100), 20, measure=last, floor=0.25, seed=3)
    measured = {each.place for each in found if each.by == "measure"}
    by_chance = {each.place for each in found if each.by == "chance"}
    assert measured == set(range(85, 100))
    assert len(by_chance) == 5
    assert not by_chance & measured
    assert {each.probability for each in found if each.by == "chance"} == {5 / 85}
    assert {each.probability for each in found if each.by == "measure"} == {1.0}
    assert found == choose(numbered(100), 20, measure=last, floor=0.25, seed=3)
    assert found != choose(numbered(100), 20, measure=last, floor=0.25, seed=4)
    assert [each.by for each in found[:15]] != ["measure"] * 15, "the order is by chance too"


def test_more_than_there_is_and_nothing_but_chance():
    found = choose(numbered(3), 10, measure=last, floor=0.2, seed=0)
    assert {each.place for each in found} == {0, 1, 2}
    assert all(each.probability == 1 for each in found)
    assert {each.by for each in choose(numbered(9), 3, measure=last, floor=1.0, seed=0)} == {"chance"}
    assert {each.by for each in choose(numbered(9), 3, measure=last, floor=0.0, seed=0)} == {"measure"}


def test_weighting_back_is_unbiased_and_not_weighting_is_not():
    """Of 40 items the 10 best by the measure have the figure 0, the others 1. Over many draws the weighted sum over all
    is 30, and the plain mean is far from 3/4."""
    figure = np.array([1.0] * 30 + [0.0] * 10)
    sums, plain = [], []
    for seed in range(2000):
        found = choose(numbered(40), 15, measure=last, floor=0.4, seed=seed)
        sums.append(sum(figure[each.place] / each.probability for each in found))
        plain.append(np.mean([figure[each.place] for each in found]))
    assert np.mean(sums) == pytest.approx(30, abs=0.3)
    assert np.mean(plain) < 0.5


def test_any_beginning_of_the_choice_is_an_even_part_of_it():
    firsts = [choose(numbered(10), 4, measure=last, floor=0.5, seed=seed)[0].by for seed in range(2000)]
    assert firsts.count("measure") / 2000 == pytest.approx(0.5, abs=0.05)
