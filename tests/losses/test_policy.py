"""Policy losses and KL estimators: oracle O9 and exact expectations."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.losses.policy import clipped_surrogate, clipped_value, k1, k3


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
