"""Advantages of answers that are compared, by hand."""

from __future__ import annotations

import pytest
import torch

from burnish.batches import Document, pack
from burnish.train.advantages import KlInReward, PerAnswer


def test_a_spread_divides_scores_and_not_the_kl_in_the_reward() -> None:
    """Two prompts' two answers of a token, 0.1 and 0.3 nats from the reference, β 0.05. Of the first prompt one answer
    is right: ±½ over a standard deviation of √½ (unbiased). Of the second both are: what is left is β times the KL's
    distance from its mean, as small as β says."""
    batch = pack([Document(row=row, ids=[1], branches=[[2], [3]]) for row in "ab"]).with_extra(
        scores_B=torch.tensor([1.0, 0.0, 1.0, 1.0]), kl_N=torch.tensor([0.1, 0.3, 0.1, 0.3])
    )
    advantages = PerAnswer(kl=KlInReward(0.05), baseline="standardised", eps=0.0)
    [found] = advantages.of([batch])
    assert found.extra["advantages_N"].tolist() == pytest.approx([0.5**0.5 + 0.005, -(0.5**0.5) - 0.005, 0.005, -0.005])


@pytest.mark.parametrize("scores", [(0.1, 0.1, 0.1), (1e8, 1e8, 1e8)])
def test_answers_that_are_alike_have_no_advantage_to_the_last_bit(scores: tuple[float, ...]) -> None:
    batch = pack([Document(row="a", ids=[1], branches=[[2], [3], [4]])]).with_extra(scores_B=torch.tensor(scores))
    for baseline in ("leave_one_out", "mean", "standardised"):
        [found] = PerAnswer(baseline=baseline).of([batch])
        assert found.extra["advantages_N"].tolist() == [0.0, 0.0, 0.0]
