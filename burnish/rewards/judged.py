"""A judge as a reward: a model that is asked about each answer. Knows no model; knows what is made of replies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Literal

from burnish.errors import warn_once
from burnish.judge.grading import grades_by_model
from burnish.judge.pairwise import compare_by_model
from burnish.rewards.checked import rated
from burnish.types import Completion, Generator, Prompt, Rated

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedReward:
    """A grade from 0 to 1 of each answer by itself; or its comparisons with the prompt's other answers, each asked in
    both orders: the share that it wins, ties half."""

    judge: Generator
    criteria: str
    by: Literal["grade", "comparison"]
    name: str
    """Of its part."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        """Where the judge's reply cannot be read, or there is nothing to compare with, nothing is said of an answer."""
        asked = [(prompt, answer.text) for prompt, answer in zip(prompts, completions, strict=True)]
        graded = self.by == "grade"
        values = grades_by_model(self.judge, asked, self.criteria) if graded else self._shares(asked)
        if values and all(each is None for each in values):
            warn_once(
                _log, f"{self.name}: the judge said nothing that can be read, and the answers are paid nothing by it"
            )
        return rated(self.name, values)

    def _shares(self, asked: Sequence[tuple[Prompt, str]]) -> list[float | None]:
        pairs = list(_pairs(asked))
        met = [(asked[i][0], asked[i][1], asked[j][1]) for i, j in pairs]
        said = compare_by_model(self.judge, met, criteria=self.criteria)
        won: list[list[float]] = [[] for _ in asked]
        for (i, j), comparison in zip(pairs, said, strict=True):
            if comparison.readable:
                won[i].append(comparison.chance)
                won[j].append(1 - comparison.chance)
        return [sum(each) / len(each) if each else None for each in won]


def _pairs(asked: Sequence[tuple[Prompt, str]]) -> list[tuple[int, int]]:
    """Places of any two answers to the same prompt; answers to one prompt stand side by side."""
    groups = groupby(range(len(asked)), key=lambda place: asked[place][0].id)
    return [pair for _, group in groups for pair in combinations(group, 2)]
