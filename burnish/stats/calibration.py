"""Whether stated chances come true. Knows log-odds and clusters, not where they come from.

A comparison's log-odds z are those of what came true: σ(z) is the chance that was given to it. Its confidence is the
chance of the side that was thought likelier, and that side was right where z > 0 (half right at 0).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from burnish.stats.intervals import LEVEL, REACH, Floats, ratio, share
from burnish.types import Estimate

BINS = 10
"""At most; fewer where a bin would hold under `PER_BIN` comparisons."""
PER_BIN = 20
TEMPERATURES = (0.05, 20.0)
"""A fitted temperature lies within these. At the upper end the stated chances say next to nothing."""
_DRAWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Comparisons of like confidence; bins are equally full."""

    confidence: float
    right: Estimate
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far stated chances can be taken at their word."""

    bins: list[Bin]
    error: Estimate
    """Expected calibration error (Naeini et al. 2015): mean distance of confidence and share right over the bins."""
    error_by_chance: float
    """What that error would be, in the mean, of chances that are exact, with so many independent comparisons."""
    brier: Estimate
    """Mean of (1 - σ(z))²: 0.25 where every chance is one half."""
    temperature: Estimate
    """T at which σ(z/T) fits best (Guo et al. 2017): above 1, the chances were too bold."""
    error_at_temperature: float
    """The error with T fitted on one half of the clusters and used on the other."""

    def as_json(self) -> dict[str, Any]:
        return {
            "bins": [{"confidence": b.confidence, "right": b.right.as_json(), "count": b.count} for b in self.bins],
            "error": self.error.as_json(),
            "error_by_chance": self.error_by_chance,
            "brier": self.brier.as_json(),
            "temperature": self.temperature.as_json(),
            "error_at_temperature": self.error_at_temperature,
        }


def calibration(log_odds: Sequence[float], clusters: Sequence[Hashable], seed: int = 0) -> Calibration:
    """Of comparisons in independent clusters; intervals are bootstraps over clusters.

    The error is a mean of absolute values, so that its bootstrap lies too high by about as much as it does itself: the
    interval is shifted by the difference of the bootstrap's mean, and cut at 0.
    """
    assert len(log_odds) == len(clusters) > 0, "nothing was stated"
    z_P = np.asarray(log_odds, dtype=np.float64)
    keys = {key: place for place, key in enumerate(dict.fromkeys(clusters))}
    cluster_P = np.array([keys[key] for key in clusters])
    rng = np.random.default_rng(seed)
    taken = rng.multinomial(len(keys), np.full(len(keys), 1 / len(keys)), size=_DRAWS)
    counts = np.bincount(cluster_P).astype(np.float64)
    return Calibration(
        bins=[_bin(z_P[places], cluster_P[places], seed) for places in _places(z_P)],
        error=_error_estimate(z_P, cluster_P, taken),
        error_by_chance=_error_by_chance(z_P, rng),
        brier=ratio(np.bincount(cluster_P, expit(-z_P) ** 2).astype(np.float64), counts, seed=seed),
        temperature=_temperature_estimate(z_P, cluster_P, taken),
        error_at_temperature=_error(_crossed(z_P, cluster_P)),
    )


def temperature(log_odds: Sequence[float] | Floats, weights: Floats | float = 1.0) -> float:
    """The T that makes what came true likeliest, within `TEMPERATURES`.

    By bisection: with a = 1/T, -Σ w log σ(a z) is convex in a, and its slope is -Σ w z σ(-a z).
    """
    z_P = np.asarray(log_odds, dtype=np.float64)
    low, high = (1 / end for end in reversed(TEMPERATURES))
    for _ in range(40):
        middle = math.sqrt(low * high)
        falls = float((weights * z_P * expit(-middle * z_P)).sum()) > 0
        low, high = (middle, high) if falls else (low, middle)
    return 1 / math.sqrt(low * high)


def _confidence(z_P: Floats) -> Floats:
    return expit(np.abs(z_P))


def _right(z_P: Floats) -> Floats:
    return np.where(z_P == 0, 0.5, (z_P > 0).astype(np.float64))


def _places(z_P: Floats) -> list[np.ndarray]:
    """The comparisons of each bin, from the least confident up."""
    count = max(1, min(BINS, len(z_P) // PER_BIN))
    return np.array_split(np.argsort(np.abs(z_P), kind="stable"), count)


def _bin(z_P: Floats, cluster_P: np.ndarray, seed: int) -> Bin:
    there, place_P = np.unique(cluster_P, return_inverse=True)
    hits = np.bincount(place_P, _right(z_P), len(there)).astype(np.float64)
    counts = np.bincount(place_P).astype(np.float64)
    return Bin(confidence=float(_confidence(z_P).mean()), right=share(hits, counts, seed=seed), count=len(z_P))


def _error(z_P: Floats) -> float:
    gaps = _right(z_P) - _confidence(z_P)
    return float(sum(abs(gaps[places].sum()) for places in _places(z_P))) / len(z_P)


def _error_estimate(z_P: Floats, cluster_P: np.ndarray, taken: np.ndarray) -> Estimate:
    gaps = _right(z_P) - _confidence(z_P)
    clusters = taken.shape[1]
    by_bin = np.stack([np.bincount(cluster_P[p], gaps[p], clusters) for p in _places(z_P)], axis=1)
    drawn = np.abs(taken @ by_bin).sum(1) / (taken @ np.bincount(cluster_P, minlength=clusters))
    value = _error(z_P)
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]) - (drawn.mean() - value)
    return Estimate(
        value=value,
        low=max(0.0, min(value, float(low))),
        high=max(value, float(high)),
        n=clusters,
        mde=REACH * float(drawn.std()),
    )


def _error_by_chance(z_P: Floats, rng: np.random.Generator) -> float:
    confidence, places = _confidence(z_P), _places(z_P)
    errors: list[float] = []
    for _ in range(_DRAWS):
        gaps = (rng.random(len(z_P)) < confidence) - confidence
        errors.append(sum(abs(gaps[each].sum()) for each in places) / len(z_P))
    return float(np.mean(errors))


def _temperature_estimate(z_P: Floats, cluster_P: np.ndarray, taken: np.ndarray) -> Estimate:
    drawn = np.array([temperature(z_P, counts[cluster_P]) for counts in taken])
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Estimate(
        value=temperature(z_P), low=float(low), high=float(high), n=taken.shape[1], mde=REACH * float(drawn.std())
    )


def _crossed(z_P: Floats, cluster_P: np.ndarray) -> Floats:
    """Log-odds divided by the temperature of the other half of the clusters."""
    half_P = cluster_P % 2 == 0
    if half_P.all():
        return z_P
    return np.where(half_P, z_P / temperature(z_P[~half_P]), z_P / temperature(z_P[half_P]))
