"""Rankings with what a reward model says of their answers. Knows scores and pairs; knows no model and no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from burnish.pipeline.ranked import Hits, Pairs, Side, accuracy, scores_of
from burnish.rewards.model import ModelReward
from burnish.types import Estimate, Progress, Ranking, Silent

Scores = list[list[list[float]]]
"""By row, member and answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One side, and what each member of a reward model says of each of its answers."""

    side: Side
    members: Scores
    """Normalised scores."""
    stds: list[float]
    """Of each member, how much of its own score one normalised unit is: its chances are those of its own score."""

    def scores(self) -> list[list[float]]:
        """For each row what the model says of its answers: the members' mean."""
        return [np.asarray(row, dtype=np.float32).mean(0).tolist() for row in self.members]

    def std(self) -> float:
        """Of the scores of all answers; 1 where they do not differ."""
        return float(np.std([score for row in self.scores() for score in row])) or 1.0

    def hits(self, pairs: Sequence[Pairs]) -> Hits:
        return self.side.hits(self.scores(), pairs)

    def accuracy(self, pairs: Sequence[Pairs]) -> Estimate | None:
        """Share of the pairs that are ordered rightly; None where there is none."""
        found = self.hits(pairs)
        return accuracy(found) if found else None

    def log_odds(self) -> tuple[list[float], list[str]]:
        """For each ordered pair the log-odds, under Bradley-Terry, that the better answer is better, and its unit.

        Of an ensemble, those of the mean of its members' chances.
        """
        found: list[float] = []
        units: list[str] = []
        for scores, pairs, unit in zip(self.members, self.side.ordered(), self.side.units, strict=True):
            for i, j in pairs:
                found.append(_mean_log_odds(differences(scores, self.stds, i, j)))
                units.append(unit)
        return found, units

    def spreads(self) -> list[list[float]]:
        """For each row and each of its ordered pairs, how far the members differ."""
        return [
            [spread(scores, self.stds, i, j) for i, j in pairs]
            for scores, pairs in zip(self.members, self.side.ordered(), strict=True)
        ]

    def chosen(self, wanted: Callable[[Ranking, int, int], bool]) -> list[Pairs]:
        """For each row those of its ordered pairs that are wanted, told as (row, better, worse)."""
        return [
            [(i, j) for i, j in pairs if wanted(row, i, j)]
            for row, pairs in zip(self.side.rows, self.side.ordered(), strict=True)
        ]


def scored(members: Sequence[ModelReward], side: Side, micro_tokens: int, progress: Progress = Silent()) -> Scored:
    """What each member says of a side."""
    by_member = [scores_of(member, side.documents, micro_tokens, progress) for member in members]
    rows = [list(each) for each in zip(*by_member, strict=True)]
    return Scored(side=side, members=rows, stds=[member.std for member in members])


def differences(scores: Sequence[Sequence[float]], stds: Sequence[float], i: int, j: int) -> NDArray[np.float64]:
    """Of each member, its own score of answer i less that of answer j: by Bradley-Terry the log-odds of i over j."""
    return np.array([std * (of_member[i] - of_member[j]) for of_member, std in zip(scores, stds, strict=True)])


def spread(scores: Sequence[Sequence[float]], stds: Sequence[float], i: int, j: int) -> float:
    """Standard deviation over members of the chance that i is better than j: 0 is agreement, ½ the most there is."""
    return float(np.std(expit(differences(scores, stds, i, j))))


def dispute(scores: Sequence[Sequence[float]], stds: Sequence[float]) -> float:
    """Mean spread over all pairs of a prompt's answers: what the members disagree on most teaches them most."""
    pairs = list(combinations(range(len(scores[0])), 2))
    return sum(spread(scores, stds, i, j) for i, j in pairs) / len(pairs)


def _mean_log_odds(log_odds: NDArray[np.float64]) -> float:
    """Log-odds of the mean of several chances, from their own."""
    for_it, against_it = (np.logaddexp.reduce(-np.logaddexp(0, sign * log_odds)) for sign in (-1, 1))
    return float(for_it - against_it)
