"""Advantages: oracle O8."""

from __future__ import annotations

import pytest
import torch

from burnish.losses.returns import (
    alike,
    centred,
    gae,
    leave_one_out,
    overlong,
    packed_gae,
    shaped_rewards,
    standardised,
    whiten,
)

REWARDS = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
VALUES = torch.tensor([0.5, 0.6, 0.8], dtype=torch.float64)


@pytest.mark.parametrize(
    ("lam", "expected"), [(1.0, [0.5, 0.4, 0.2]), (0.95, [0.4705, 0.39, 0.2]), (0.0, [0.1, 0.2, 0.2])]
)
def test_gae_with_the_score_on_the_last_token(lam: float, expected: list[float]) -> None:
    advantages, returns = gae(REWARDS, VALUES, 1.0, lam)
    assert advantages.tolist() == pytest.approx(expected)
    assert returns.tolist() == pytest.approx([a + v for a, v in zip(expected, VALUES.tolist(), strict=True)])


def test_gae_with_a_discount() -> None:
    rewards = torch.tensor([-0.1, -0.2, 0.9], dtype=torch.float64)
    advantages, _ = gae(rewards, VALUES, 0.9, 0.5)
    assert advantages.tolist() == pytest.approx([-0.07575, -0.035, 0.1])


def test_whitening_divides_by_the_biased_variance() -> None:
    advantages, _ = gae(REWARDS, VALUES, 1.0, 0.95)
    assert whiten(advantages).tolist() == pytest.approx([1.031681, 0.321849, -1.353530], abs=1e-5)


def test_a_constant_added_to_all_rewards_of_one_token_answers_is_whitened_away() -> None:
    scores = torch.tensor([0.2, 1.4, -0.7], dtype=torch.float64)
    assert whiten(scores + 5).tolist() == pytest.approx(whiten(scores).tolist())


def test_leave_one_out_by_hand_and_a_lone_answer_keeps_its_score() -> None:
    """Oracle O10: (1, 0, 0, 1) gives ±2/3 and (1, 0, 0, 0) gives 1 and -1/3."""
    scores = torch.tensor([1, 5, 0, 0, 1, 1, 0, 0, 0], dtype=torch.float64)
    group = torch.tensor([0, 1, 0, 0, 0, 2, 2, 2, 2])
    third = 1 / 3
    expected = [2 * third, 5, -2 * third, -2 * third, 2 * third, 1, -third, -third, -third]
    assert leave_one_out(scores, group).tolist() == pytest.approx(expected)


def test_leave_one_out_forgets_what_a_whole_group_has_in_common() -> None:
    scores, group = torch.tensor([0.25, 1.5, -2.0, 0.5]), torch.tensor([0, 0, 1, 1])
    shifted = scores + torch.tensor([8.0, 8.0, -4.0, -4.0])
    assert leave_one_out(shifted, group).tolist() == leave_one_out(scores, group).tolist()


def test_the_score_is_paid_once_at_the_end_and_the_kl_at_each_token() -> None:
    kl = torch.tensor([0.5, -0.25, 1.0, 2.0], dtype=torch.float64)
    found = shaped_rewards(torch.tensor([2.0, -1.0]), kl, torch.tensor([0, 0, 0, 1]), 0.1)
    assert found.tolist() == pytest.approx([-0.05, 0.025, 1.9, -1.2])


def test_answers_of_unequal_length_are_estimated_as_each_alone() -> None:
    rewards = torch.tensor([0.3, 0.0, 0.0, 1.0, -0.1, 0.9], dtype=torch.float64)
    values = torch.tensor([0.2, 0.5, 0.6, 0.8, 0.7, 0.4], dtype=torch.float64)
    spans = [slice(0, 1), slice(1, 4), slice(4, 6)]
    found = packed_gae(rewards, values, torch.tensor([0, 1, 1, 1, 2, 2]), 0.9, 0.8)
    alone = [gae(rewards[span], values[span], 0.9, 0.8) for span in spans]
    for place in range(2):
        assert found[place].tolist() == torch.cat([each[place] for each in alone]).tolist()


GROUPS = torch.tensor([0, 1, 0, 0, 0, 1, 1, 1])
GROUPED = torch.tensor([1, 1, 0, 0, 1, 0, 0, 0], dtype=torch.float64)


def test_scores_less_their_groups_mean_and_over_its_spread() -> None:
    """Oracle O10. (1, 0, 0, 1): ±½, and over √(1/3) + ε ±0.865875. (1, 0, 0, 0): ¾ and -¼, without ε over ½."""
    assert centred(GROUPED, GROUPS).tolist() == pytest.approx([0.5, 0.75, -0.5, -0.5, 0.5, -0.25, -0.25, -0.25])
    first = [0.865875, -0.865875, -0.865875, 0.865875]
    assert standardised(GROUPED, GROUPS)[GROUPS == 0].tolist() == pytest.approx(first, abs=1e-6)
    assert standardised(GROUPED, GROUPS, 0.0)[GROUPS == 1].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5])


def test_scores_that_do_not_differ_are_told() -> None:
    scores = torch.tensor([0.1, 0.7, 0.1, 0.2])
    assert alike(scores, torch.tensor([0, 1, 0, 1])).tolist() == [True, False, True, False]


def test_the_overlong_penalty_by_hand() -> None:
    """DAPO's own numbers: 20,480 tokens at most, the last 4,096 of them dear."""
    found = overlong(torch.tensor([100, 16_384, 18_432, 20_480]), 20_480, 4_096)
    assert found.tolist() == [0.0, 0.0, -0.5, -1.0]


def test_rewards_may_be_scaled_about_their_mean() -> None:
    """(1, 3) has mean 2 and deviation 1; ten times that becomes the same deviation about 20."""
    assert whiten(torch.tensor([10.0, 30.0]), keep_mean=True).tolist() == pytest.approx([19.0, 21.0])
