"""How far people agree, and what that leaves for a model to reach. Knows ranks, not who gave them.

The ceiling rests on one model of error: every label is the truth, flipped independently with the same chance e. Two
labels then agree with chance e² + (1 - e)², from which e follows. People who share a bias agree more than that, so that
e comes out too small; hard questions beside easy ones make it too large for the easy ones.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations, permutations

import numpy as np
from scipy import stats

from burnish.stats.intervals import share
from burnish.types import Estimate

Votes = Sequence[Sequence[int]]
"""The ranks that several people gave to the same answers, in one order; 1 is best, equal is a tie."""


def counted_agreement(votes: Votes) -> tuple[int, int]:
    """(agreeing, compared) over every two people and every two answers that both ordered; ties are left out."""
    agreeing = compared = 0
    for one, other in combinations(votes, 2):
        for i, j in combinations(range(len(one)), 2):
            signs = (one[i] - one[j]) * (other[i] - other[j])
            compared += signs != 0
            agreeing += signs > 0
    return agreeing, compared


def undisputed(votes: Votes) -> list[tuple[int, int]]:
    """(better, worse) for every two answers that everyone orders, and in the same way. Empty without votes."""
    if not votes:
        return []
    return [(i, j) for i, j in permutations(range(len(votes[0])), 2) if all(ranks[i] < ranks[j] for ranks in votes)]


def pairwise_agreement(items: Sequence[Votes], seed: int = 0) -> Estimate | None:
    """Share of comparisons on which two people agree, bootstrap over items; None where nobody overlaps."""
    counts = [counted_agreement(votes) for votes in items]
    told = np.array([pair for pair in counts if pair[1]], dtype=np.float64).reshape(-1, 2)
    if not len(told):
        return None
    return share(told[:, 0], told[:, 1], seed=seed)


def flip_rate(agreement: float) -> float:
    """e with e² + (1 - e)² = agreement, e <= ½; ½ (labels are noise) where people agree half of the time or less."""
    return (1 - math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def majority_flip_rate(flip: float, people: int) -> float:
    """Chance that the majority of `people` independent labels is wrong; an even split is wrong half of the time."""
    half = people // 2
    split = float(stats.binom.pmf(half, people, flip)) / 2 if people % 2 == 0 else 0.0
    return float(stats.binom.sf(half, people, flip)) + split


def human_ceiling(agreement: Estimate, people: int = 1) -> Estimate:
    """Accuracy that a perfect model would show against labels which are each the majority of `people` votes.

    For orders agreed by mean rank this is an approximation: mean rank and majority differ where K > 2. The interval is
    that of the agreement, carried over, and so is its `mde`, downwards.
    """
    ends = (agreement.value, agreement.low, agreement.high, agreement.value - agreement.mde)
    value, low, high, below = (1 - majority_flip_rate(flip_rate(share), people) for share in ends)
    return Estimate(value=value, low=low, high=high, n=agreement.n, mde=value - below)


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Agreement of two people beyond chance (Cohen 1960); 1 where both use one and the same label throughout."""
    assert len(a) == len(b) > 0, "nothing to compare"
    n = len(a)
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / n
    expected = sum(a.count(label) * b.count(label) for label in set(a) | set(b)) / n**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
