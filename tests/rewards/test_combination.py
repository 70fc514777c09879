"""A sum of rewards by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from burnish.rewards.checked import rated
from burnish.rewards.combination import Weighted
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
