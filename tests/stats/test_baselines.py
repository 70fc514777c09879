import itertools
import math
import random

import pytest

from burnish.stats.baselines import LengthRule, fit_length_rule


def test_shorter_wins_where_it_does():
    rule = fit_length_rule([(5, 9, True), (9, 5, False), (3, 4, True), (8, 2, True)], turn=False)
    assert (rule.longer, rule.accuracy) == (False, 0.75)
    assert str(rule) == "shorter wins"


def test_equal_lengths_are_a_coin():
    rule = LengthRule(longer=True, up_to=math.inf, accuracy=1.0)
    assert rule.hits([(4, 4, True), (5, 4, True), (4, 5, True)]) == [0.5, 1.0, 0.0]


def test_a_turn_is_found():
    pairs = [(10, 8, True), (8, 11, False), (10, 30, True), (50, 20, False)]
    rule = fit_length_rule(pairs)
    assert (rule.longer, rule.up_to, rule.accuracy) == (True, 3.0, 1.0)
    assert fit_length_rule(pairs, turn=False).accuracy == 0.5
    assert str(rule) == "longer wins up to a difference of 3, then shorter"


def test_held_out_pairs_are_judged_by_the_fitted_rule():
    rule = fit_length_rule([(10, 8, True), (8, 11, False)])
    assert rule.hits([(100, 1, True), (1, 100, True)]) == [1.0, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_no_rule_of_the_family_is_better(seed: int):
    rng = random.Random(seed)
    pairs = [(rng.randrange(12), rng.randrange(12), rng.random() < 0.5) for _ in range(40)]
    best = fit_length_rule(pairs)
    assert sum(best.hits(pairs)) / 40 == pytest.approx(best.accuracy)
    for longer, up_to in itertools.product((True, False), [*range(13), math.inf]):
        other = LengthRule(longer=longer, up_to=up_to, accuracy=0)
        assert sum(other.hits(pairs)) / 40 <= best.accuracy + 1e-12
