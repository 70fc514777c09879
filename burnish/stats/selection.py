"""Which of many items to ask about next, and with what chance each was chosen. Knows numbers only; no text, no model.

The best by some measure are taken for certain, and a part of the budget is drawn evenly from all the others. So every
item could have been chosen, with a chance that is known, and whatever is measured on the chosen ones can be weighted
back to all of them without bias (Horvitz and Thompson 1952). What is best by a measure alone never can.

A measure is told, item by item, what each member of an ensemble thinks of each pair of the item's answers: the chance
that the first is better. Suffixes: M members, P pairs of an item, Q pairs of all items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Measure = Callable[[Sequence[Floats], int], list[int]]
"""Of items as arrays [M, P], and a number: so many places, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One item that was chosen."""

    place: int
    """Among the items."""
    probability: float
    """With which it was."""
    by: Literal["measure", "chance"]


def disagreement(items: Sequence[Floats], count: int) -> list[int]:
    """Where members' chances spread most, as the mean of their standard deviations (Christiano et al. 2017)."""
    spreads = np.array([chances_MP.std(0).mean() for chances_MP in items])
    return [int(place) for place in np.argsort(-spreads, kind="stable")[:count]]


def information(items: Sequence[Floats], count: int) -> list[int]:
    """What people's answers are expected to teach about all items, taken together.

    Members that differ on two pairs in the same way connect them: an answer to one says something about the other. By
    the rule of conditioning normal variables, asking about q takes cov(q, r)² / (p_q (1 - p_q)) from the variance of
    r's chance; p_q is the members' mean, and the denominator how much one answer varies. An item is worth the mean over
    its pairs of what they take from all pairs (the criterion of Cohn et al. 1996). The best item is taken, what it is
    expected to settle is settled, and the next is the best of what is then left: what resembles a choice is worth less
    after it.
    """
    owner_Q = np.repeat(np.arange(len(items)), [chances_MP.shape[1] for chances_MP in items])
    pairs_I = np.bincount(owner_Q, minlength=len(items))
    chances_MQ = np.concatenate(items, axis=1)
    mean_Q = chances_MQ.mean(0)
    varies_Q = np.maximum(mean_Q * (1 - mean_Q), 1e-9)
    apart_MQ = (chances_MQ - mean_Q) / np.sqrt(len(chances_MQ))  # inner products of its columns are covariances
    left_I = np.ones(len(items), dtype=bool)
    found: list[int] = []
    for _ in range(min(count, len(items))):
        worth_Q = ((apart_MQ @ apart_MQ.T) @ apart_MQ * apart_MQ).sum(0) / varies_Q
        worth_I = np.bincount(owner_Q, worth_Q, minlength=len(items)) / pairs_I
        place = int(np.argmax(np.where(left_I, worth_I, -1.0)))
        found.append(place)
        left_I[place] = False
        for pair in np.flatnonzero(owner_Q == place):
            apart_MQ = _settled(apart_MQ, int(pair), float(varies_Q[pair]))
    return found


def choose(items: Sequence[Floats], budget: int, *, measure: Measure, floor: float, seed: int) -> list[Choice]:
    """`budget` of the items, in an order drawn at random, so that any beginning of it is an even part of the choice.

    `floor` is the share of the budget that is drawn evenly from what is not among the best by `measure`.
    """
    assert 0 <= floor <= 1, "a share"
    budget = min(budget, len(items))
    drawn = min(budget, round(budget * floor))
    best = measure(items, budget - drawn) if budget > drawn else []
    taken = set(best)
    rest = [place for place in range(len(items)) if place not in taken]
    rng = np.random.default_rng(seed)
    chance = drawn / len(rest) if rest else 1.0
    found = [Choice(place=place, probability=1.0, by="measure") for place in best]
    by_chance = rng.choice(len(rest), drawn, replace=False) if drawn else []
    found += [Choice(place=rest[int(each)], probability=chance, by="chance") for each in by_chance]
    return [found[int(place)] for place in rng.permutation(len(found))]


def _settled(apart_MQ: Floats, pair: int, varies: float) -> Floats:
    """What is left of the members' differences once an answer to one pair is known, as expected: a downdate of rank 1
    that takes cov(pair, q) cov(pair, r) / varies from the covariance of any q and r."""
    length = float(np.linalg.norm(apart_MQ[:, pair]))
    if length < 1e-12:
        return apart_MQ
    along_M = apart_MQ[:, pair] / length
    shrink = 1 - np.sqrt(max(0.0, 1 - length**2 / varies))
    return apart_MQ - shrink * np.outer(along_M, along_M @ apart_MQ)
