"""A board of models from comparisons of their answers: strengths with intervals. Knows names and outcomes; no text.

Bradley and Terry's model (1952): a beats b with chance σ(s_a - s_b). A tie is half a win for each. Covariates are
differences between the two answers (in length, say) that may sway whoever judges; with them, a strength is what would
be left if both answers were alike there.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from burnish.stats.intervals import LEVEL, REACH
from burnish.types import Estimate

Floats = NDArray[np.float64]
DRAWS = 500
STEPS = 100
PRIOR = 0.01
"""Half a made-up win and loss of so much weight against an average model: strengths stay finite where one wins all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One comparison."""

    a: str
    b: str
    score: float
    """Of a: 1 won, 0 lost, ½ a tie."""
    cluster: Hashable
    """What it is not independent within: the prompt."""
    covariates: tuple[float, ...] = ()
    """a's less b's, each in units of its own; all matches have as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Strengths in logits about a mean of 0; a difference of 1 is won 73 times in 100."""

    strengths: dict[str, Estimate]
    """By model, the strongest first."""
    sway: tuple[Estimate, ...]
    """What a unit of each covariate is worth, in logits."""


def board(matches: Sequence[Match], *, seed: int = 0) -> Board:
    """Maximum likelihood by Newton's steps; percentile bootstrap over clusters."""
    assert matches, "nothing was compared"
    names = sorted({name for match in matches for name in (match.a, match.b)})
    place = {name: index for index, name in enumerate(names)}
    design_MX = np.zeros((len(matches), len(names) + len(matches[0].covariates)))
    for row, match in enumerate(matches):
        design_MX[row, place[match.a]] += 1
        design_MX[row, place[match.b]] -= 1
        design_MX[row, len(names) :] = match.covariates
    score_M = np.array([match.score for match in matches])
    keys = {key: index for index, key in enumerate(dict.fromkeys(match.cluster for match in matches))}
    cluster_M = np.array([keys[match.cluster] for match in matches])
    found_X = _fitted(design_MX, score_M, np.ones(len(matches)), len(names))
    rng = np.random.default_rng(seed)
    taken_DC = rng.multinomial(len(keys), np.full(len(keys), 1 / len(keys)), size=DRAWS).astype(np.float64)
    drawn_DX = np.array([_fitted(design_MX, score_M, weights[cluster_M], len(names)) for weights in taken_DC])
    estimates = [_estimate(value, drawn, len(keys)) for value, drawn in zip(found_X, drawn_DX.T, strict=True)]
    ranked = sorted(names, key=lambda name: -estimates[place[name]].value)
    return Board(
        strengths={name: estimates[place[name]] for name in ranked},
        sway=tuple(estimates[len(names) :]),
    )


def _fitted(design_MX: Floats, score_M: Floats, weights_M: Floats, models: int) -> Floats:
    """Coefficients of a weighted logistic regression with PRIOR on each; strengths about a mean of 0."""
    beta_X = np.zeros(design_MX.shape[1])
    for _ in range(STEPS):
        chance_M = 1 / (1 + np.exp(-design_MX @ beta_X))
        prior_X = 1 / (1 + np.exp(-beta_X))
        slope_X = design_MX.T @ (weights_M * (score_M - chance_M)) + PRIOR * (0.5 - prior_X)
        curve_XX = (design_MX * (weights_M * chance_M * (1 - chance_M))[:, None]).T @ design_MX
        curve_XX += np.diag(PRIOR * prior_X * (1 - prior_X))
        step_X = np.linalg.solve(curve_XX, slope_X)
        step_X *= min(1.0, 2.0 / max(float(np.abs(step_X).max()), 1e-12))
        beta_X = beta_X + step_X
        if np.abs(step_X).max() < 1e-9:
            break
    beta_X[:models] -= beta_X[:models].mean()
    return beta_X


def _estimate(value: float, drawn: Floats, n: int) -> Estimate:
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    low, high = min(float(low), float(value)), max(float(high), float(value))
    return Estimate(value=float(value), low=low, high=high, n=n, mde=REACH * float(drawn.std()))
