"""Arithmetic of ranks: 1 is best, equal numbers are a tie. Pure; knows no database."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

from burnish.errors import Problem, StoreError
from burnish.types import SINGLE


def dense(ranks: Sequence[float]) -> tuple[int, ...]:
    """The same order without gaps, from 1: (2, 7, 2) becomes (1, 2, 1)."""
    places = {rank: place for place, rank in enumerate(sorted(set(ranks)), start=1)}
    return tuple(places[rank] for rank in ranks)


def own_order(ranks: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Ranks given in the shown order, as dense ranks in the answers' own order.

    `order[i]` is the own position of the answer shown in place i. Raises StoreError when the ranks do not fit.
    """
    if len(ranks) != len(order):
        raise StoreError(Problem("ranks", f"{len(ranks)} ranks for {len(order)} answers"))
    if any(type(rank) is not int or rank < 1 for rank in ranks):
        raise StoreError(Problem("ranks", f"ranks are whole numbers from 1 (best), not {list(ranks)}"))
    own = dict(zip(order, dense(ranks), strict=True))
    return tuple(own[position] for position in range(len(order)))


def agreed(votes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The mean-rank order of several people's ranks of the same answers; exact ties stay ties.

    Each vote is turned into mid-ranks first (tied answers share the mean of the places they take), so that every vote
    weighs the same however many ties it has. Whole numbers throughout: twice a mid-rank is one.
    """
    sums = [sum(column) for column in zip(*map(_double_midranks, votes), strict=True)]
    return dense(sums)


def compared(ranks: Sequence[int], good: bool | None) -> tuple[int, ...]:
    """Ranks that people can be compared by: a single answer that is called good or bad is held against what would be
    just good enough, which has the second rank of the two."""
    return tuple(ranks) if good is None else SINGLE[good]


def in_order(values: Sequence[float], ranks: Sequence[int]) -> list[float]:
    """The same values in another order: the highest to the best answer; tied answers get the mean of theirs."""
    ordered = sorted(values, reverse=True)
    shares = {rank: [ordered[place] for place, each in enumerate(sorted(ranks)) if each == rank] for rank in ranks}
    return [fmean(shares[rank]) for rank in ranks]


def _double_midranks(ranks: Sequence[int]) -> list[int]:
    """2 x (answers ranked better) + (answers tied with it, itself included) + 1."""
    return [2 * sum(other < rank for other in ranks) + ranks.count(rank) + 1 for rank in ranks]


def opposed(votes: Sequence[Sequence[int]]) -> float:
    """How much several people are at odds, from 0 to 1: the share of pairs of answers that two of them ordered against
    each other, over every two people and every two answers. A tie is against nothing, and counts among the pairs."""
    signs = [
        (one[i] - one[j]) * (other[i] - other[j])
        for one, other in combinations(votes, 2)
        for i, j in combinations(range(len(one)), 2)
    ]
    return sum(sign < 0 for sign in signs) / len(signs) if signs else 0.0
