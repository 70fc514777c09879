"""The linear preference model: against numbers worked out by hand, and how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.stats.linear import logistic, preferences


def test_one_feature_by_hand():
    """Of 4 equal comparisons 3 are won; with the prior N(0, 1), w solves 4 (3/4 - σ(w)) = w."""
    found = preferences(np.ones((4, 1)), np.array([1.0, 1.0, 1.0, 0.0]))
    w = float(found.mean_F[0])
    assert 4 * (0.75 - 1 / (1 + np.exp(-w))) == pytest.approx(w)
    chance = 1 / (1 + np.exp(-w))
    assert found.cov_FF[0, 0] == pytest.approx(1 / (4 * chance * (1 - chance) + 1))


def test_nothing_said_is_the_prior():
    found = preferences(np.empty((0, 3)), np.empty(0), ridge=4.0)
    assert found.mean_F.tolist() == [0.0] * 3
    assert found.cov_FF == pytest.approx(np.eye(3) / 4)


def test_ties_pull_to_the_middle_and_order_does_not_matter():
    won = preferences(np.array([[2.0]]), np.array([1.0])).mean_F[0]
    assert preferences(np.array([[-2.0]]), np.array([0.0])).mean_F[0] == pytest.approx(won)
    assert preferences(np.array([[2.0]]), np.array([0.5])).mean_F[0] == pytest.approx(0)


def test_known_weights_are_found():
    rng = np.random.default_rng(0)
    truth, difference = np.array([2.0, -1.0, 0.0]), rng.standard_normal((4000, 3))
    found = preferences(difference, (rng.random(4000) < logistic(difference @ truth)).astype(float))
    error = np.abs(found.mean_F - truth) / np.sqrt(np.diag(found.cov_FF))
    assert error.max() < 3


def test_what_is_drawn_has_the_mean_and_the_spread():
    found = preferences(np.array([[1.0, 0.0]] * 5), np.ones(5))
    drawn = found.drawn(20_000, seed=1)
    assert drawn.mean(0) == pytest.approx(found.mean_F, abs=0.03)
    assert np.cov(drawn.T) == pytest.approx(found.cov_FF, abs=0.05)
    assert np.array_equal(drawn, found.drawn(20_000, seed=1))


def test_far_off_numbers_do_not_overflow():
    assert logistic(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
