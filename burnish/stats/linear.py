"""A linear preference model on given features: Bradley and Terry's, with how sure it is of itself. Knows arrays only.

Suffixes: N comparisons, F features, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """What comparisons say of the weights: a normal around the best ones (Laplace's approximation)."""

    mean_F: Floats
    cov_FF: Floats

    def drawn(self, draws: int, seed: int) -> Floats:
        """Weights that fit about as well, [D, F]: the members of an ensemble."""
        root_FF = np.linalg.cholesky(self.cov_FF)
        noise_DF = np.random.default_rng(seed).standard_normal((draws, len(self.mean_F)))
        return self.mean_F + noise_DF @ root_FF.T


def preferences(difference_NF: Floats, won_N: Floats, ridge: float = 1.0) -> Posterior:
    """The weights w of greatest posterior, where a beats b with chance σ(w · (f_a - f_b)) and w ~ N(0, 1/ridge).

    `difference_NF` is f_a - f_b; `won_N` is 1 where a won, 0 where b did, ½ for a tie. Without comparisons it is the
    prior. Newton's steps, which the prior keeps short.
    """
    features = difference_NF.shape[1]
    mean_F = np.zeros(features)
    curve_FF = ridge * np.eye(features)
    for _ in range(STEPS):
        chance_N = logistic(difference_NF @ mean_F)
        slope_F = difference_NF.T @ (won_N - chance_N) - ridge * mean_F
        weighted_NF = difference_NF * (chance_N * (1 - chance_N))[:, None]
        curve_FF = weighted_NF.T @ difference_NF + ridge * np.eye(features)
        step_F = np.linalg.solve(curve_FF, slope_F)
        mean_F = mean_F + step_F * min(1.0, 5.0 / max(float(np.abs(step_F).max()), 1e-12))
        if np.abs(step_F).max() < 1e-8:
            break
    cov_FF = np.linalg.inv(curve_FF)
    return Posterior(mean_F=mean_F, cov_FF=(cov_FF + cov_FF.T) / 2)


def logistic(values: Floats) -> Floats:
    """σ, without overflow."""
    return np.exp(-np.logaddexp(0.0, -values))
