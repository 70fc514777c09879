"""Policy losses and KL estimators: oracle O9 and exact expectations."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.losses.policy import (
    answer_means,
    banded,
    clipped_surrogate,
    clipped_value,
    clipped_weight,
    k1,
    k2,
    k3,
    score_function,
    sequence_surrogate,
    truncated,
)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [(1.1, 1, -1.1, -1.1), (1.3, 1, -1.2, 0), (0.7, 1, -0.7, -0.7), (1.3, -1, 1.3, 1.3), (0.7, -1, 0.8, 0)],
)
def test_the_clipped_surrogate_and_its_slope(ratio: float, advantage: float, loss: float, slope: float) -> None:
    logprob = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    found = clipped_surrogate(logprob, torch.zeros(1), torch.tensor([float(advantage)]), 0.2)
    found.sum().backward()
    assert logprob.grad is not None
    assert found.item() == pytest.approx(loss)
    assert float(logprob.grad) == pytest.approx(slope)


@pytest.mark.parametrize(("target", "loss"), [(2.0, 0.845), (0.0, 0.5)])
def test_the_clipped_value_loss(target: float, loss: float) -> None:
    """V = 1, V_old = ½, ε = 0.2: the clipped value is 0.7; the larger of the two errors counts, halved."""
    found = clipped_value(torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([target]), 0.2)
    assert float(found) == pytest.approx(loss)


def test_at_ratio_one_the_slope_is_reinforce() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    clipped_surrogate(logprobs, logprobs.detach(), advantages, 0.2).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx((-advantages).tolist())


def test_k1_and_k3_have_the_exact_divergence_as_mean() -> None:
    policy = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    reference = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    exact = sum(p * math.log(p / q) for p, q in [(0.7, 0.3), (0.2, 0.3), (0.1, 0.4)])
    for estimator in (k1, k3):
        assert float((policy * estimator(policy.log(), reference.log())).sum()) == pytest.approx(exact)
    assert (k3(policy.log(), reference.log()) >= 0).all()
    assert (k1(policy.log(), reference.log()) < 0).any()


def test_the_second_estimator_is_half_a_square() -> None:
    assert k2(torch.tensor([0.0, -1.0]), torch.tensor([0.5, -3.0])).tolist() == [0.125, 2.0]


def slope(loss: torch.Tensor, logprobs: torch.Tensor) -> list[float]:
    [gradient] = torch.autograd.grad(loss.sum(), logprobs)
    return gradient.tolist()


def at(*ratios: float) -> torch.Tensor:
    """Log-probabilities of which the old ones, all 0, are so many times as likely."""
    return torch.tensor([math.log(ratio) for ratio in ratios], dtype=torch.float64, requires_grad=True)


def test_the_score_function_has_the_slope_of_reinforce() -> None:
    logprobs = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    found = score_function(logprobs, torch.tensor([3.0, -0.5]))
    assert found.tolist() == [3.0, -1.0]
    assert slope(found, logprobs) == [-3.0, 0.5]


def test_the_upper_end_of_the_clip_may_be_another() -> None:
    """DAPO's 0.2 and 0.28: a ratio of 1.25 is clipped by 0.2 and not by 0.28; 0.75 with A < 0 is clipped by both."""
    logprobs, old, advantages = at(1.25, 1.3, 0.75), torch.zeros(3), torch.tensor([1.0, 1.0, -1.0])
    found = clipped_surrogate(logprobs, old, advantages, 0.2, 0.28)
    assert found.tolist() == pytest.approx([-1.25, -1.28, 0.8])
    assert slope(found, logprobs) == pytest.approx([-1.25, 0.0, 0.0])
    assert slope(clipped_surrogate(logprobs, old, advantages, 0.2), logprobs) == pytest.approx([0.0, 0.0, 0.0])


def test_a_sequence_has_one_ratio_the_geometric_mean() -> None:
    """Answers of ratios (1.2, 0.9) and (1.5): s = √1.08 = 1.03923 and 1.5. With ε = 0.3, A = 2 and 1: the first is not
    clipped, and each of its two tokens has half the slope -s A; the second is clipped to 1.3."""
    logprobs, answer = at(1.2, 0.9, 1.5), torch.tensor([0, 0, 1])
    found = sequence_surrogate(logprobs, torch.zeros(3), torch.tensor([2.0, 2.0, 1.0]), answer, 0.3, 0.3)
    root = 1.08**0.5
    assert found.tolist() == pytest.approx([-2 * root, -2 * root, -1.3])
    assert slope(found / torch.tensor([2.0, 2.0, 1.0]), logprobs) == pytest.approx([-root, -root, 0.0])


def test_a_clipped_weight_loses_no_token_its_slope() -> None:
    """CISPO with ε_high = 4: ratios 2 and 9, the second counts as 5."""
    logprobs = at(2.0, 9.0)
    found = clipped_weight(logprobs, torch.zeros(2), torch.tensor([1.0, -2.0]), 4.0)
    assert found.tolist() == pytest.approx([-2 * math.log(2), 10 * math.log(9)])
    assert slope(found, logprobs) == pytest.approx([-2.0, 10.0])


def test_importance_weights_are_cut_or_dropped_and_have_no_slope() -> None:
    logs = at(0.4, 0.5, 1.0, 2.0, 3.0)
    assert truncated(logs, 2.0).tolist() == pytest.approx([0.4, 0.5, 1.0, 2.0, 2.0])
    assert banded(logs, 0.45, 2.5).tolist() == pytest.approx([0.0, 0.5, 1.0, 2.0, 0.0])
    assert not truncated(logs, 2.0).requires_grad
    assert not banded(logs, 0.5, 2.0).requires_grad


def test_each_token_holds_the_mean_of_its_answer() -> None:
    assert answer_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1])).tolist() == [2.0, 2.0, 5.0]
