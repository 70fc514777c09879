"""Ranking losses against numbers worked out here."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from burnish.losses.preference import (
    bradley_terry,
    centring,
    half_tie,
    lapse,
    ordered_pairs,
    plackett_luce,
    prompt_means,
    rao_kupper_tie,
    tied_pairs,
)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def k_wise(scores_B: torch.Tensor, ranks_B: torch.Tensor, prompt_B: torch.Tensor) -> torch.Tensor:
    better_P, worse_P = ordered_pairs(ranks_B, prompt_B)
    return prompt_means(bradley_terry(scores_B[better_P], scores_B[worse_P]), prompt_B[better_P])


def test_ordered_pairs_leave_out_ties_and_other_prompts() -> None:
    better, worse = ordered_pairs(torch.tensor([1, 2, 2, 1, 2]), torch.tensor([0, 0, 0, 1, 1]))
    assert set(zip(better.tolist(), worse.tolist(), strict=True)) == {(0, 1), (0, 2), (3, 4)}


def test_a_half_tie_is_either_order_by_half_and_rests_at_equal_scores() -> None:
    first = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
    found = half_tie(first, torch.zeros(2, dtype=torch.float64))
    assert found.tolist() == pytest.approx([math.log(2), (softplus(2.0) + softplus(-2.0)) / 2])
    found.sum().backward()
    assert first.grad is not None
    assert first.grad.tolist() == pytest.approx([0.0, 1 / (1 + math.exp(-2.0)) - 0.5])  # σ(Δ) - ½
    lapsed = half_tie(torch.tensor([2.0]), torch.tensor([0.0]), rate=0.2)
    chances = [0.8 / (1 + math.exp(-each)) + 0.1 for each in (2.0, -2.0)]
    assert lapsed.item() == pytest.approx(-sum(map(math.log, chances)) / 2)


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


def test_a_prompts_pairs_share_its_slope() -> None:
    """Scores 2, 1, 0 in this order: the first wins by 1 and 2, the last loses by 2 and 1, and what the middle one wins
    of the last it loses to the first. The other prompt has one pair, which counts whole."""
    values = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    prompt_means(values, torch.tensor([0, 0, 0, 1])).backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])
    scores = torch.tensor([2.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    k_wise(scores, torch.tensor([1, 2, 3, 1, 2]), torch.tensor([0, 0, 0, 1, 1])).backward()
    by_one, by_two, against = 1 / (1 + math.e), 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))  # σ(-1), σ(-2), σ(1)
    assert scores.grad is not None
    outer = (by_one + by_two) / 3
    assert scores.grad.tolist() == pytest.approx([-outer, 0.0, outer, -against, against])


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


def one(x: float) -> torch.Tensor:
    return torch.tensor([x], dtype=torch.float64)


def test_a_margin_shifts_the_difference_that_a_pair_must_show() -> None:
    assert float(bradley_terry(one(2.0), one(0.5), 1.0)) == pytest.approx(softplus(-0.5))
    margins = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = bradley_terry(torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), margins)
    assert found.tolist() == pytest.approx([math.log(2), softplus(1.0)])


def test_a_margin_steepens_the_slope() -> None:
    """At Δ = 1.5 and m = 1: -σ(m - Δ) for the better, σ(m - Δ) for the worse and for m."""
    given = [one(each).requires_grad_(True) for each in (2.0, 0.5, 1.0)]
    bradley_terry(*given).sum().backward()
    steep = 1 / (1 + math.exp(0.5))
    assert [float(each.grad) for each in given if each.grad is not None] == pytest.approx([-steep, steep, steep])


def test_centring_is_the_square_of_the_sum() -> None:
    better = one(2.0).requires_grad_(True)
    loss = centring(better, one(-0.5))
    loss.sum().backward()
    assert better.grad is not None
    assert (float(loss.detach()), float(better.grad)) == pytest.approx((2.25, 3.0))


def test_a_lapse_bounds_what_one_wrong_label_costs() -> None:
    """At Δ = -10 and ε = 0.1: -log(0.9·σ(-10) + 0.05) = 2.995, where Bradley-Terry has 10."""
    assert float(lapse(one(-10.0), one(0.0), 0.1)) == pytest.approx(2.995, abs=5e-4)
    assert float(lapse(one(-1e4), one(0.0), 0.1)) == pytest.approx(-math.log(0.05))
    assert float(lapse(one(0.0), one(0.0), 0.1)) == pytest.approx(math.log(2))
    slope = one(1.0).requires_grad_(True)
    lapse(slope, one(0.0), 0.1).sum().backward()
    s = 1 / (1 + math.exp(-1))
    assert slope.grad is not None
    assert float(slope.grad) == pytest.approx(-0.9 * s * (1 - s) / (0.9 * s + 0.05))


@pytest.mark.parametrize("difference", [-3.0, 0.0, 0.7])
def test_wins_losses_and_ties_of_rao_and_kupper_are_all_there_is(difference: float) -> None:
    a, b, eta = one(difference), one(0.0), 0.4
    win, loss = (math.exp(-float(bradley_terry(*pair, eta))) for pair in ((a, b), (b, a)))
    tie = math.exp(-float(rao_kupper_tie(a, b, eta)))
    theta, strength = math.exp(eta), math.exp(difference)
    assert win == pytest.approx(strength / (strength + theta))
    assert tie == pytest.approx((theta**2 - 1) * strength / ((strength + theta) * (theta * strength + 1)))
    assert win + loss + tie == pytest.approx(1.0)


def test_a_tie_pulls_scores_together() -> None:
    first = one(0.7).requires_grad_(True)
    rao_kupper_tie(first, one(0.0), 0.4).sum().backward()
    assert first.grad is not None
    assert float(first.grad) == pytest.approx(1 / (1 + math.exp(-1.1)) - 1 / (1 + math.exp(0.3)))  # σ(Δ+η) - σ(η-Δ)


def test_tied_pairs_stand_once_and_within_a_prompt() -> None:
    first, second = tied_pairs(torch.tensor([1, 2, 2, 2, 2]), torch.tensor([0, 0, 0, 0, 1]))
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == {(1, 2), (1, 3), (2, 3)}


def test_plackett_luce_is_a_chain_of_choices() -> None:
    """Scores log 3, log 2, log 1 in that order: 3/6 · 2/3 · 1 = 1/3. The other prompt's answers are no choices."""
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0, 4.0], dtype=torch.float64).log()
    prompts = torch.tensor([0, 0, 0, 1, 1])
    found = plackett_luce(scores, torch.tensor([1, 3, 2, 1, 2]), prompts)
    assert float(found) == pytest.approx(-math.log(1 / 3) - math.log(1 / 5))


def test_plackett_luces_slope_is_the_chance_to_be_chosen_less_the_choice() -> None:
    """Weights 3, 1, 2 and ranks 1, 3, 2. The first is chosen with 3/6; the third is passed over with 2/6, then chosen
    with 2/3; the second is passed over with 1/6 and 1/3. Of 1 and 4, the better has 1/5."""
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0, 4.0], dtype=torch.float64).log().requires_grad_(True)
    plackett_luce(scores, torch.tensor([1, 3, 2, 1, 2]), torch.tensor([0, 0, 0, 1, 1])).backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([3 / 6 - 1, 1 / 6 + 1 / 3, 2 / 6 + 2 / 3 - 1, 1 / 5 - 1, 4 / 5])
    tied = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64).log().requires_grad_(True)
    plackett_luce(tied, torch.tensor([1, 1, 2]), torch.zeros(3, dtype=torch.long)).backward()
    assert tied.grad is not None
    assert tied.grad.tolist() == pytest.approx([3 / 4 - 1, 2 / 3 - 1, 1 / 4 + 1 / 3])


def test_plackett_luce_of_two_answers_is_bradley_terry() -> None:
    scores = torch.tensor([0.3, 1.7], dtype=torch.float64)
    found = plackett_luce(scores, torch.tensor([1, 2]), torch.tensor([0, 0]))
    assert float(found) == pytest.approx(float(bradley_terry(scores[:1], scores[1:])))


def test_plackett_luce_leaves_the_order_of_tied_answers_open() -> None:
    """Two tied winners of weight 3 and 2 over one of weight 1: 3/4 · 2/3."""
    scores = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64).log()
    found = plackett_luce(scores, torch.tensor([1, 1, 2]), torch.zeros(3, dtype=torch.long))
    assert float(found) == pytest.approx(-math.log(3 / 4 * 2 / 3))


def test_plackett_luce_recovers_strengths_from_the_chances_of_all_orders() -> None:
    true = torch.tensor([0.0, 0.8, -0.5], dtype=torch.float64)
    prompt = torch.zeros(3, dtype=torch.long)
    orders = [torch.tensor(ranks) for ranks in permutations((1, 2, 3))]
    chances = [(-plackett_luce(true, ranks, prompt)).exp() for ranks in orders]
    assert float(torch.stack(chances).sum()) == pytest.approx(1.0)
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = [p * plackett_luce(scores, ranks, prompt) for p, ranks in zip(chances, orders, strict=True)]
        loss = torch.stack(losses).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (scores - scores[0]).tolist() == pytest.approx(true.tolist(), abs=1e-5)
