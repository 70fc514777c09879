"""The reward model's objective, setting by setting, against numbers worked out here: scores are a table's, by token.

Prompt 0 has three answers of scores 2, 1, 0 and ranks 1, 2, 2: two ordered pairs (differences 1 and 2) and a tie
(difference 1). Prompt 1 has two answers of scores 0 and 1, the first called better: a difference of -1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from burnish.batches import Batch, Document
from burnish.models.forward import Output, Trainable
from burnish.train.feeds import DatasetFeed
from burnish.train.objectives import RewardModel, added, total

SCORES = [2.0, 1.0, 0.0, 0.0, 1.0]
RANKS = [[1, 2, 2], [1, 2]]
DOCUMENTS = [
    Document(row="three", ids=[9], branches=[[0], [1], [2]]),
    Document(row="two", ids=[9], branches=[[3], [4]]),
]
MARGINS = [[1.5, 1.0, 1.4], [0.2, 0.7]]
"""Strengths: the margins of prompt 0 are 0.5 and 0.1; that of prompt 1 goes against the ranks, so that it has none."""


class Scores(Trainable):
    """An answer's score is a number of its last token."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.by_token = nn.Parameter(torch.tensor(SCORES, dtype=torch.float64))

    def forward(self, batch: Batch) -> Output:
        return Output(scores_B=self.by_token[batch.ids_T[batch.last_B]])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def lapsed(difference: float) -> float:
    return -math.log(0.9 / (1 + math.exp(-difference)) + 0.05)


def half(loss: Callable[[float], float], difference: float) -> float:
    return (loss(difference) + loss(-difference)) / 2


def lost(difference: float) -> float:
    return softplus(-difference)


def batches(micro_tokens: int, strengths: list[list[float]] | None = None) -> list[Batch]:
    feed = DatasetFeed(DOCUMENTS, per_step=2, micro_tokens=micro_tokens, seed=0, ranks=RANKS, strengths=strengths)
    return feed.next(0).batches


def value(objective: RewardModel, parts: list[Batch]) -> float:
    """What the loop makes of a step."""
    counts = added(objective.counts(batch) for batch in parts)
    module = Scores()
    return sum(total(objective, objective.loss(module, batch), counts).item() for batch in parts)


TIED = -math.log(math.expm1(1.2)) + softplus(0.6 - 1) + softplus(0.6 + 1)  # Rao and Kupper, threshold 0.6, Δ = 1
CASES: list[tuple[dict[str, Any], list[list[float]] | None, float]] = [
    ({}, None, ((lost(1) + lost(2)) / 2 + lost(-1)) / 2),
    ({"loss": "bradley_terry"}, None, (lost(1) + lost(2) + lost(-1)) / 3),
    (
        {"loss": "plackett_luce"},  # of prompt 0: the first is chosen among three, and the rest is a tie
        None,
        (math.log(math.exp(2) + math.exp(1) + 1) - 2 + math.log(1 + math.exp(1)) - 0) / 2,
    ),
    ({"margin": 0.5}, None, ((lost(0.5) + lost(1.5)) / 2 + lost(-1.5)) / 2),
    ({}, MARGINS, ((lost(0.5) + lost(1.9)) / 2 + lost(-1)) / 2),
    ({"lapse": 0.1}, None, ((lapsed(1) + lapsed(2)) / 2 + lapsed(-1)) / 2),
    ({"lapse": 0.1, "margin": 1.0}, None, ((lapsed(0) + lapsed(1)) / 2 + lapsed(-2)) / 2),
    ({"centring": 0.1}, None, ((lost(1) + lost(2) + 0.1 * (9 + 4)) / 2 + lost(-1) + 0.1) / 2),
    ({"ties": "half"}, None, ((lost(1) + lost(2) + half(lost, 1)) / 3 + lost(-1)) / 2),
    ({"ties": "half", "loss": "bradley_terry"}, None, (lost(1) + lost(2) + half(lost, 1) + lost(-1)) / 4),
    ({"ties": "half", "lapse": 0.1}, None, ((lapsed(1) + lapsed(2) + half(lapsed, 1)) / 3 + lapsed(-1)) / 2),
    (
        {"ties": "rao_kupper", "tie_threshold": 0.6},
        None,
        ((lost(0.4) + lost(1.4) + TIED) / 3 + lost(-1.6)) / 2,
    ),
]


@pytest.mark.parametrize(("settings", "strengths", "wanted"), CASES)
def test_each_setting_is_the_loss_that_it_says(
    settings: dict[str, Any], strengths: list[list[float]] | None, wanted: float
) -> None:
    assert value(RewardModel(**settings), batches(50, strengths)) == pytest.approx(wanted)


@pytest.mark.parametrize(("settings", "strengths", "wanted"), CASES)
def test_micro_batches_are_the_big_batch(
    settings: dict[str, Any], strengths: list[list[float]] | None, wanted: float
) -> None:
    parts = batches(4, strengths)
    assert len(parts) == 2
    assert value(RewardModel(**settings), parts) == pytest.approx(wanted)


def test_a_tie_alone_teaches_only_where_ties_do() -> None:
    documents = [Document(row="tie", ids=[9], branches=[[0], [2]])]
    [batch] = DatasetFeed(documents, per_step=1, micro_tokens=9, seed=0, ranks=[[1, 1]]).next(0).batches
    assert RewardModel().counts(batch) == {"rank": 0.0}
    assert RewardModel().loss(Scores(), batch).sums["rank"].item() == 0.0
    assert RewardModel(ties="half").counts(batch) == {"rank": 1.0}
    assert RewardModel(ties="half").loss(Scores(), batch).sums["rank"].item() == pytest.approx(half(lost, 2))


def test_accuracy_and_margin_are_of_ordered_pairs_whatever_ties_teach() -> None:
    [batch] = batches(50)
    for objective in (RewardModel(), RewardModel(ties="half", centring=0.1)):
        assert objective.loss(Scores(), batch).metrics == {"rewards/accuracy": (2.0, 3.0), "rewards/margin": (2.0, 3.0)}
