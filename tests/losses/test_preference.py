"""Ranking losses against numbers worked out here."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.losses.preference import bradley_terry, k_wise, ordered_pairs


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_ordered_pairs_leave_out_ties_and_other_prompts() -> None:
    better, worse = ordered_pairs(torch.tensor([1, 2, 2, 1, 2]), torch.tensor([0, 0, 0, 1, 1]))
    assert set(zip(better.tolist(), worse.tolist(), strict=True)) == {(0, 1), (0, 2), (3, 4)}


def test_bradley_terry_and_its_slope() -> None:
    better = torch.tensor([1.5, 0.0], dtype=torch.float64, requires_grad=True)
    loss = bradley_terry(better, torch.tensor([0.5, 0.0], dtype=torch.float64))
    assert loss.tolist() == pytest.approx([softplus(-1.0), math.log(2)])
    loss.sum().backward()
    assert better.grad is not None
    assert better.grad.tolist() == pytest.approx([-1 / (1 + math.e), -0.5])  # -σ(-Δ)


def test_k_wise_is_the_mean_over_prompts_not_over_pairs() -> None:
    """Prompt 0 has three pairs with differences 1, 1, 2; prompt 1 has one with difference -1."""
    scores = torch.tensor([2.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    prompts = torch.tensor([0, 0, 0, 1, 1])
    found = k_wise(scores, torch.tensor([1, 2, 3, 1, 2]), prompts) / 2
    prompt_mean = ((softplus(-1) * 2 + softplus(-2)) / 3 + softplus(1)) / 2
    pair_mean = (softplus(-1) * 2 + softplus(-2) + softplus(1)) / 4
    assert float(found) == pytest.approx(prompt_mean)
    assert float(found) != pytest.approx(pair_mean)


def test_a_prompt_of_ties_gives_nothing() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0, 0.0], dtype=torch.float64)
    found = k_wise(scores, torch.tensor([1, 1, 1, 2]), torch.tensor([0, 0, 1, 1]))
    assert float(found) == pytest.approx(softplus(-2))


def test_swapping_winner_and_loser_turns_the_sign_of_the_difference() -> None:
    scores, prompts = torch.tensor([0.3, 1.7], dtype=torch.float64), torch.tensor([0, 0])
    right, wrong = (k_wise(scores, torch.tensor(ranks), prompts) for ranks in ([2, 1], [1, 2]))
    assert float(wrong - right) == pytest.approx(1.4)  # softplus(x) - softplus(-x) = x


def test_maximum_likelihood_recovers_known_strengths() -> None:
    """Expected losses under known win chances are least at the log odds that made them."""
    true = torch.tensor([0.0, 0.8, -0.5], dtype=torch.float64)
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        chance = torch.sigmoid(true[:, None] - true[None, :])
        loss = sum(
            chance[i, j] * bradley_terry(scores[i : i + 1], scores[j : j + 1]).sum()
            for i in range(3)
            for j in range(3)
            if i != j
        )
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (scores - scores[0]).tolist() == pytest.approx(true.tolist(), abs=1e-5)
