import math

import numpy as np
import pytest
from scipy import stats

from burnish.stats.intervals import exact, mean_interval, paired_difference, rate_mde, ratio, wilson


def test_55_percent_of_200_is_not_a_result():
    rate = wilson(110, 200)
    assert (round(rate.low, 3), round(rate.high, 3)) == (0.481, 0.617)


@pytest.mark.parametrize(("k", "n"), [(0, 300), (1, 9), (73, 120), (50, 50)])
def test_wilson_is_scipys(k: int, n: int):
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    ours = wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize(("k", "n"), [(0, 20), (1, 9), (27, 40), (50, 50)])
def test_the_exact_interval_is_scipys(k: int, n: int):
    theirs = stats.binomtest(k, n).proportion_ci(method="exact")
    ours = exact(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.low <= ours.value <= ours.high


def test_zero_of_300_reaches_a_little_over_the_rule_of_three():
    high = wilson(0, 300).high
    assert high == pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-4)
    assert 3 / 300 < high < 4 / 300


def test_prompts_needed_for_80_percent_power_stand_in_the_mde():
    assert rate_mde(0.5, 783) <= 0.05 < rate_mde(0.5, 781)
    assert rate_mde(0.5, 2178) <= 0.03 < rate_mde(0.5, 2176)


def test_mde_of_a_rate_points_to_the_middle_and_is_symmetric():
    assert rate_mde(0.02, 100) == pytest.approx(rate_mde(0.98, 100))
    # From 0: sin²(2.8016 / 10 / 2) = 0.0195.
    assert rate_mde(0.0, 100) == pytest.approx(math.sin(0.14008) ** 2, rel=1e-3)


def test_mean_interval_is_student_t():
    values = [0.2, 0.4, 0.9, 0.5]
    low, high = stats.t.interval(0.95, 3, loc=0.5, scale=stats.sem(values))
    ours = mean_interval(values, bounds=(-9, 9))
    assert (ours.value, ours.low, ours.high) == pytest.approx((0.5, low, high))
    assert ours.mde == pytest.approx(2.8016 * np.std(values, ddof=1) / 2, rel=1e-4)


def test_mean_interval_stays_in_its_bounds():
    assert mean_interval([0.0, 1.0]).low == 0.0
    assert mean_interval([0.0, 1.0]).high == 1.0


def test_equal_values_do_not_pretend_to_certainty():
    five = mean_interval([1.0] * 5)
    assert five.high == 1.0
    assert five.low == pytest.approx(wilson(5, 5).low)
    assert mean_interval([0.3]).low < 0.1


def test_paired_difference_uses_the_pairing():
    base = np.linspace(0, 1, 200)
    shift = np.tile([0.08, 0.12], 100)
    ours = paired_difference((base + shift).tolist(), base.tolist())
    assert ours.value == pytest.approx(0.10)
    # sd of the differences is 0.02005, the standard error 0.00142; unpaired it would be 0.041.
    assert ours.low == pytest.approx(0.10 - 1.96 * 0.001418, abs=3e-4)
    assert ours.high == pytest.approx(0.10 + 1.96 * 0.001418, abs=3e-4)
    assert ours.mde == pytest.approx(2.8016 * 0.001418, rel=1e-2)


def test_paired_difference_is_seeded():
    a, b = np.random.default_rng(0).random((2, 40)).tolist()
    assert paired_difference(a, b, seed=3) == paired_difference(a, b, seed=3)
    assert paired_difference(a, b, seed=3) != paired_difference(a, b, seed=4)


def test_clusters_are_the_units():
    a = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    b = [0.0] * 8
    clustered = paired_difference(a, b, clusters=["x"] * 4 + ["y"] * 4)
    assert clustered.n == 2
    assert (clustered.low, clustered.high) == (0.0, 1.0)
    assert paired_difference(a, b).low > 0.0


def test_no_difference_anywhere_leaves_three_in_n():
    same = paired_difference([0.5] * 100, [0.5] * 100)
    assert (same.value, same.low, same.high) == (0.0, -0.03, 0.03)
    assert same.mde > 0.03


def test_ratio_weighs_clusters_by_their_counts():
    assert ratio(np.array([3.0, 0.0]), np.array([3.0, 1.0])).value == 0.75


def test_bootstrap_covers_what_it_should():
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        sample = rng.exponential(1.0, 60)
        interval = paired_difference(sample.tolist(), [0.0] * 60, seed=trial, draws=400)
        held += interval.low <= 1.0 <= interval.high
    assert 176 <= held <= 198
