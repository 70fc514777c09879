"""A board of the models that wrote a campaign's answers: from duels to places. Knows no page and no database.

An item's two answers are one comparison however many judged it: its score is the mean of what they said, and the
intervals are over items. Models that never met, not even through others, stand on boards of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from burnish.stats.board import Match, board
from burnish.store.duels import Duel
from burnish.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One model."""

    model: str
    chance: Estimate
    """That its answer is placed above one of an average model of this board, ties half."""
    places: tuple[int, int]
    """From the best place to the worst that the intervals leave open."""
    won: int
    """Judgements that placed its answer above the other; so `tied` and `lost`."""
    tied: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """Models that met, the strongest first."""

    lines: tuple[Line, ...]
    undecided: tuple[tuple[str, str], ...]
    """Neighbours in the table whose intervals overlap."""
    longer: Estimate | None
    """With equal lengths asked for: the chance that of two answers of equally strong models the one that is twice as
    long is placed above."""


def standings(duels: Sequence[Duel], *, same_length: bool = False) -> list[Standings]:
    """A board for each group of models that met, the largest first. `same_length`: strengths as they would be if all
    answers were equally long."""
    groups = _groups(duels)
    return [_standings([duel for duel in duels if duel.a in group], same_length) for group in groups]


def _standings(duels: Sequence[Duel], same_length: bool) -> Standings:
    found = board([_match(duel, same_length) for duel in duels])
    won, tied, lost = Counter[str](), Counter[str](), Counter[str]()
    for duel in duels:
        for model, above, below in ((duel.a, duel.won, duel.lost), (duel.b, duel.lost, duel.won)):
            won[model] += above
            tied[model] += duel.tied
            lost[model] += below
    lines = [
        Line(
            model=model,
            chance=_chance(strength),
            places=_places(found.strengths, model),
            won=won[model],
            tied=tied[model],
            lost=lost[model],
        )
        for model, strength in found.strengths.items()
    ]
    undecided = [
        (one.model, next_one.model) for one, next_one in pairwise(lines) if next_one.chance.high >= one.chance.low
    ]
    return Standings(
        lines=tuple(lines), undecided=tuple(undecided), longer=_chance(found.sway[0]) if same_length else None
    )


def _match(duel: Duel, same_length: bool) -> Match:
    score = (duel.won + duel.tied / 2) / (duel.won + duel.tied + duel.lost)
    longer = math.log2((duel.lengths[0] + 1) / (duel.lengths[1] + 1))  # + 1: an answer may be empty
    return Match(a=duel.a, b=duel.b, score=score, cluster=duel.item, covariates=(longer,) if same_length else ())


def _places(strengths: Mapping[str, Estimate], model: str) -> tuple[int, int]:
    mine = strengths[model]
    above = sum(other.low > mine.high for other in strengths.values())
    below = sum(other.high < mine.low for other in strengths.values())
    return 1 + above, len(strengths) - below


def _chance(logits: Estimate) -> Estimate:
    value, low, high, reached = (
        1 / (1 + math.exp(-each)) for each in (logits.value, logits.low, logits.high, logits.value + logits.mde)
    )
    return Estimate(value=value, low=low, high=high, n=logits.n, mde=reached - value)


def _groups(duels: Sequence[Duel]) -> list[set[str]]:
    groups = list[set[str]]()
    for pair in {frozenset((duel.a, duel.b)) for duel in duels}:
        joined = set(pair).union(*(group for group in groups if group & pair))
        groups = [group for group in groups if not group & pair] + [joined]
    return sorted(groups, key=lambda group: (-len(group), min(group)))
