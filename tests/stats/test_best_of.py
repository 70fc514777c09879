"""Best of n against all subsets, written out."""

from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest

from burnish.stats.best_of import best_of, best_of_each, kl_of_best

SCORES = (0.3, -1.0, 2.0, 0.3, 1.1, 0.3)
VALUES = (5.0, 1.0, -2.0, 3.0, 0.5, 4.0)


def by_hand(n: int) -> float:
    """Over all subsets: the winner's value, and the mean of the winners' values where several are best."""
    found = []
    for chosen in combinations(range(len(SCORES)), n):
        best = max(SCORES[i] for i in chosen)
        won = [VALUES[i] for i in chosen if SCORES[i] == best]
        found.append(sum(won) / len(won))
    return sum(found) / len(found)


def test_every_n_is_the_mean_over_all_subsets_ties_shared() -> None:
    assert best_of(SCORES, VALUES) == pytest.approx([by_hand(n) for n in range(1, 7)], rel=1e-12)


def test_of_one_it_is_the_mean_and_of_all_the_best() -> None:
    curve = best_of(SCORES, SCORES)
    assert curve[0] == pytest.approx(np.mean(SCORES))
    assert curve[-1] == 2.0
    assert curve == sorted(curve)


def test_it_is_unbiased_where_the_expectation_is_known() -> None:
    """The best of n uniform numbers is n/(n+1) in the mean: 4,000 prompts with 8 answers, four standard errors."""
    draws = np.random.default_rng(3).random((4000, 8))
    found = best_of_each([(row.tolist(), row.tolist()) for row in draws], [1, 3, 8])
    for estimate, n in zip(found, (1, 3, 8), strict=True):
        error = (estimate.high - estimate.low) / (2 * 1.96)
        assert estimate.value == pytest.approx(n / (n + 1), abs=4 * error)
        assert estimate.n == 4000


def test_the_kl_is_that_of_the_known_distribution() -> None:
    """The best of n has the density n u^(n-1) on ranks u: its KL is the integral of that times its logarithm."""
    ranks = (np.arange(200_000) + 0.5) / 200_000
    for n in (1, 4, 16, 64):
        density = n * ranks ** (n - 1)
        logs = log(n) + (n - 1) * np.log(ranks)
        assert kl_of_best(n) == pytest.approx(float(np.mean(density * logs)), abs=1e-4)
    assert kl_of_best(64) == pytest.approx(3.1745, abs=1e-4)
