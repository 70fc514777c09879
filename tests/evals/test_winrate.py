import numpy as np
import pytest

from burnish.evals.suites import winrate


def test_outcomes():
    assert winrate.outcomes([0.5, 0.2, 0.1 + 0.2], [0.2, 0.5, 0.3]) == [1.0, -1.0, 0.0]


def test_matched_lengths_only():
    results = [1, 1, -1, 1]
    rate = winrate.matched(results, [10, 100, 50, 9], [13, 111, 70, 20])
    # |10-13| <= 3 and |100-111| <= 11.1 are kept; 20 and 11 apart are not.
    assert rate is not None
    assert (rate.n, rate.value) == (2, 1.0)
    assert winrate.matched([1], [1], [50]) is None


def test_wins_by_length_alone_vanish_at_equal_length():
    rng = np.random.default_rng(0)
    more = rng.integers(-20, 25, 2000)
    results = np.where(rng.random(2000) < 0.5 + more / 60, 1, -1)
    words = (50 + more).tolist(), [50] * 2000
    raw = (results.mean() + 1) / 2
    controlled = winrate.controlled(results.tolist(), *words)
    assert controlled is not None
    assert raw > 0.52
    assert controlled.low < 0.5 < controlled.high
    assert controlled.high - controlled.low < 0.06


def test_controlled_by_hand():
    # (words more, score) is (0, 0) and (2, 1), five times each: the line is x / 2, so 0 at equal length.
    controlled = winrate.controlled([-1.0, 1.0] * 5, [10, 12] * 5, [10, 10] * 5)
    assert controlled is not None
    assert controlled.value == pytest.approx(0.0)
    assert controlled.low < controlled.high


def test_controlled_without_any_difference_in_length_is_the_plain_rate():
    controlled = winrate.controlled([1.0, -1.0, 1.0, 1.0] * 5, [7] * 20, [7] * 20)
    assert controlled is not None
    assert controlled.value == pytest.approx(0.75)
    assert winrate.controlled([1.0] * 9, [1] * 9, [1] * 9) is None
