"""Stated chances against what came true: closed forms, and planted faults found again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from burnish.stats.calibration import TEMPERATURES, calibration, temperature


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


def planted(scale: float, count: int = 1200, seed: int = 1) -> list[float]:
    """Exact chances between ½ and about 0.95, and what came true by them; stated `scale` times as boldly."""
    rng = np.random.default_rng(seed)
    log_odds = np.abs(rng.normal(0, 1.5, count))
    right = rng.random(count) < 1 / (1 + np.exp(-log_odds))
    return (scale * np.where(right, log_odds, -log_odds)).tolist()


def test_by_hand() -> None:
    """Four comparisons in one bin: 0.8 and right three times, 0.6 and wrong once."""
    found = calibration([logit(0.8)] * 3 + [-logit(0.6)], ["a", "b", "c", "d"])
    assert found.brier.value == pytest.approx((3 * 0.2**2 + 0.6**2) / 4)
    assert found.error.value == pytest.approx(abs((3 * 0.8 + 0.6) / 4 - 3 / 4))
    [bin] = found.bins
    assert (bin.confidence, bin.right.value, bin.count) == (pytest.approx(0.75), 0.75, 4)


def test_bins_are_equally_full_and_rise() -> None:
    found = calibration(planted(1.0, count=105), list(range(105)))
    assert [each.count for each in found.bins] == [21] * 5
    assert [each.confidence for each in found.bins] == sorted(each.confidence for each in found.bins)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_boldness_is_found_again_as_the_temperature(scale: float) -> None:
    log_odds = planted(scale)
    found = calibration(log_odds, list(range(len(log_odds))))
    assert found.temperature.low < scale < found.temperature.high
    assert found.error_at_temperature < 1.5 * found.error_by_chance
    assert (found.error.low > found.error_by_chance) == (scale != 1.0)


def test_the_temperature_is_where_the_slope_is_zero() -> None:
    """Three times z = 1 and once z = -1: σ(1/T) = ¾, so that T = 1/ln 3."""
    assert temperature([1.0, 1.0, 1.0, -1.0]) == pytest.approx(1 / math.log(3), rel=1e-6)


def test_noise_has_the_highest_temperature_and_no_doubt_the_lowest() -> None:
    assert temperature([2.0, -2.0]) == pytest.approx(TEMPERATURES[1], rel=1e-6)
    assert temperature([0.5, 1.0]) == pytest.approx(TEMPERATURES[0], rel=1e-6)


def test_comparisons_of_one_cluster_count_as_one() -> None:
    """The same 60 clusters, once and ten times over: a thousand dependent rows are no evidence of their own."""
    once = planted(1.0, count=60)
    alone = calibration(once, list(range(60)))
    tenfold = calibration(once * 10, list(range(60)) * 10)
    assert tenfold.brier.value == pytest.approx(alone.brier.value)
    assert tenfold.brier.high - tenfold.brier.low == pytest.approx(alone.brier.high - alone.brier.low, rel=0.2)
    assert tenfold.temperature.n == 60


def test_even_scores_are_half_right() -> None:
    found = calibration([0.0] * 40, list(range(40)))
    assert found.error.value == 0.0
    assert found.brier.value == 0.25
    assert {each.right.value for each in found.bins} == {0.5}
