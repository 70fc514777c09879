"""Reward models as scorers: normalisation and the mean of an ensemble, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Output, Trainable
from burnish.rewards.model import EnsembleReward, ModelReward, normalised

BATCH = pack([Document(row="q", ids=[1], branches=[[2], [3], [4]])])


class Fixed(Trainable):
    """Says the same scores of every batch."""

    def __init__(self, *scores: float) -> None:
        super().__init__(nn.Identity())
        self.scores_B: Tensor = torch.tensor(scores)

    def forward(self, batch: Batch) -> Output:
        return Output(scores_B=self.scores_B)


def test_scores_are_shifted_and_scaled_on_the_answers_given() -> None:
    reward = normalised(Fixed(1.0, 2.0, 6.0), [BATCH])
    assert reward.mean == pytest.approx(3.0)
    assert reward.std == pytest.approx((14 / 3) ** 0.5)
    assert reward.scores(BATCH).tolist() == pytest.approx([-2 / reward.std, -1 / reward.std, 3 / reward.std])


def test_scores_without_spread_stay_finite() -> None:
    assert normalised(Fixed(2.0, 2.0, 2.0), [BATCH]).scores(BATCH).tolist() == [0.0, 0.0, 0.0]


def test_an_ensemble_is_the_mean_of_normalised_scores() -> None:
    members = (ModelReward(Fixed(0.0, 1.0, 2.0), mean=1.0, std=2.0), ModelReward(Fixed(30.0, 10.0, 20.0), 20.0, 10.0))
    assert EnsembleReward(members).scores(BATCH).tolist() == pytest.approx([0.25, -0.5, 0.25])
    assert EnsembleReward(members[:1]).scores(BATCH).tolist() == members[0].scores(BATCH).tolist()
