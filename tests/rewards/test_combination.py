"""A sum of rewards by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from burnish.rewards.checked import rated
from burnish.rewards.combination import Sure, Weighted
from burnish.types import Completion, Message, Prompt, Rated, Stop


@dataclass
class Says:
    name: str
    values: list[float | None]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        return rated(self.name, self.values)


PROMPTS = [Prompt(id="p", messages=(Message(role="user", content="?"),))] * 3
ANSWERS = [Completion(text="!", stop=Stop.EOS)] * 3


def test_weights_times_scores_are_added_and_the_parts_stay_as_they_were_said() -> None:
    terms = (
        (1.0, Says("right", [1.0, 0.0, 1.0])),
        (-0.5, Says("long", [0.2, None, 0.4])),
        (0.0, Says("seen", [9, 9, 9])),
    )
    found = Weighted(terms).score(PROMPTS, ANSWERS)
    assert found.scores == pytest.approx([0.9, 0.0, 0.8])
    assert found.parts == {"right": [1.0, 0.0, 1.0], "long": [0.2, None, 0.4], "seen": [9, 9, 9]}


def test_one_reward_of_weight_one_is_that_reward() -> None:
    values: list[float | None] = [0.1, -0.7, 1 / 3]
    assert Weighted(((1.0, Says("model", values)),)).score(PROMPTS, ANSWERS).scores == values


@dataclass
class Members:
    """As an ensemble says it. Members of mean 2, 1, 1 and spread 1, 0, 3 over three answers."""

    name: str
    said: list[float]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        each = {"/1": [1.0, 1.0, -2.0], "/2": [3.0, 1.0, 4.0], "/spread": [1.0, 0.0, 3.0]}
        return Rated(scores=self.said, parts={self.name: self.said, **{self.name + end: v for end, v in each.items()}})


MEAN, WORST, LESS = [2.0, 1.0, 1.0], [1.0, 1.0, -2.0], [0.0, 1.0, -5.0]
"""The last less two spreads."""


@pytest.mark.parametrize("said", [MEAN, WORST, LESS])
def test_an_ensemble_is_as_sure_however_its_members_are_combined(said: list[float]) -> None:
    paid = Weighted(((1.0, Members("rm", said)), (1.0, Says("length", [9, 9, 9]))))
    found = Sure(paid, (("rm", 1.0),)).score(PROMPTS, ANSWERS)
    assert found.parts["sure"] == [1.0, 1.0, -2.0]
    assert found.scores == paid.score(PROMPTS, ANSWERS).scores, "it pays nothing"


def test_only_what_is_named_counts_and_by_its_weight() -> None:
    paid = Weighted(((-1.0, Members("against", MEAN)), (2.0, Members("rm", MEAN)), (0.5, Members("rm-2", WORST))))
    found = Sure(paid, (("rm", 2.0), ("rm-2", 0.5))).score(PROMPTS, ANSWERS)
    assert found.parts["sure"] == [2.5, 2.5, -5.0]


def test_one_model_alone_is_not_asked_what_it_is_sure_of() -> None:
    paid = Weighted(((1.0, Says("model", [1.0, 2.0, 3.0])),))
    assert "sure" not in Sure(paid, (("model", 1.0),)).score(PROMPTS, ANSWERS).parts
