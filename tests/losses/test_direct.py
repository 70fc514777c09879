"""Direct preference losses against numbers worked out here, and the optima that their papers promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from burnish.losses import direct

PairLoss = Callable[[Tensor], Tensor]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def number(x: float) -> Tensor:
    return torch.tensor([x], dtype=torch.float64, requires_grad=True)


def value_and_slope(loss: PairLoss, h: float) -> tuple[float, float]:
    at = number(h)
    found = loss(at)
    assert found.shape == (1,)
    found.sum().backward()
    assert at.grad is not None
    return float(found.detach()), float(at.grad)


def test_dpo_at_known_log_probabilities() -> None:
    """log π = -10 and -12, log ref = -11 and -11.5: h = (−10 + 11) − (−12 + 11.5) = 1.5."""
    chosen = number(-10.0)
    loss = direct.dpo((chosen - -11.0) - (-12.0 - -11.5), beta=0.1)
    loss.sum().backward()
    assert chosen.grad is not None
    assert float(loss.detach()) == pytest.approx(0.620957, abs=1e-6)
    assert float(chosen.grad) == pytest.approx(-0.0462570, abs=1e-7)


H = 1.5
EXPECTED: dict[str, tuple[PairLoss, float, float]] = {
    "dpo": (partial(direct.dpo, beta=0.1), softplus(-0.15), -0.1 * sigmoid(-0.15)),
    # 1/(2·0.2) = 2.5: (1.5 - 2.5)² = 1, slope 2·(-1)
    "ipo": (partial(direct.ipo, tau=0.2), 1.0, -2.0),
    "cdpo": (
        partial(direct.cdpo, beta=0.1, smoothing=0.2),
        0.8 * softplus(-0.15) + 0.2 * softplus(0.15),
        -0.1 * (0.8 * sigmoid(-0.15) - 0.2 * sigmoid(0.15)),
    ),
    "robust": (
        partial(direct.robust_dpo, beta=0.1, smoothing=0.2),
        (0.8 * softplus(-0.15) - 0.2 * softplus(0.15)) / 0.6,
        -0.1 * (0.8 * sigmoid(-0.15) + 0.2 * sigmoid(0.15)) / 0.6,
    ),
    # 2·1.5 - 0.8 = 2.2
    "simpo": (partial(direct.simpo, beta=2.0, gamma=0.8), softplus(-2.2), -2 * sigmoid(-2.2)),
    "orpo": (direct.odds_ratio, softplus(-1.5), -sigmoid(-1.5)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_value_and_slope_at_a_hand_computed_point(name: str) -> None:
    loss, value, slope = EXPECTED[name]
    assert value_and_slope(loss, H) == pytest.approx((value, slope), rel=1e-9)


def test_no_difference_costs_ln_2() -> None:
    for name in ("dpo", "cdpo", "orpo"):
        assert value_and_slope(EXPECTED[name][0], 0.0)[0] == pytest.approx(math.log(2), rel=1e-12)
    assert value_and_slope(EXPECTED["robust"][0], 0.0)[0] == pytest.approx(math.log(2), rel=1e-12)


def test_swapping_the_answers_turns_h_round() -> None:
    """Two facts that need no numbers: L(-h) - L(h) = βh for DPO, and smoothing ½ makes cDPO blind to the order."""
    for h in (-3.0, 0.4, 7.0):
        right, wrong = (value_and_slope(partial(direct.dpo, beta=0.3), sign * h)[0] for sign in (1, -1))
        assert wrong - right == pytest.approx(0.3 * h)
        blind = [value_and_slope(partial(direct.cdpo, beta=0.3, smoothing=0.5), sign * h)[0] for sign in (1, -1)]
        assert blind[0] == pytest.approx(blind[1])


def test_cdpo_pushes_no_pair_beyond_its_smoothing() -> None:
    at = math.log(0.9 / 0.1) / 0.25  # σ(βh) = 1 - ε
    slopes = [value_and_slope(partial(direct.cdpo, beta=0.25, smoothing=0.1), at + d)[1] for d in (-0.1, 0.0, 0.1)]
    assert slopes[0] < 0 < slopes[2]
    assert slopes[1] == pytest.approx(0, abs=1e-12)


def test_log_odds() -> None:
    found = direct.log_odds(torch.tensor([math.log(0.2), math.log(0.5)], dtype=torch.float64))
    assert found.tolist() == pytest.approx([math.log(0.25), 0.0])


def test_log_odds_rise_by_one_over_what_is_missing() -> None:
    """d/dm (m - log(1 - e^m)) = 1/(1 - p): 1.25 at p = 0.2, 2 at p = ½."""
    at = torch.tensor([0.2, 0.5], dtype=torch.float64).log().requires_grad_(True)
    direct.log_odds(at).sum().backward()
    assert at.grad is not None
    assert at.grad.tolist() == pytest.approx([1.25, 2.0])


@pytest.mark.parametrize("mean", [0.0, -1e-8, -1e-4, -20.0, -200.0])
def test_log_odds_are_finite_and_right_at_the_ends(mean: float) -> None:
    """Near p = 1 the odds are 1/|log p| but for a half; far below they are p. In fp32, as training has it."""
    at = torch.tensor([mean], requires_grad=True)
    found = direct.log_odds(at)
    found.sum().backward()
    assert at.grad is not None
    assert torch.isfinite(at.grad).all()
    nearest = min(mean, -torch.finfo(torch.float32).eps)
    wanted = mean if mean < -10 else -math.log(-nearest) + nearest / 2
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)


def test_kto_of_a_desirable_and_an_undesirable_answer() -> None:
    """β = 0.1, z0 = 0.5: ρ = 1.5 gives σ(-0.1) for the first, ρ = -2 gives σ(-0.25) for the second."""
    ratios = torch.tensor([1.5, -2.0], dtype=torch.float64, requires_grad=True)
    loss = direct.kto(ratios, torch.tensor([True, False]), z0=0.5, beta=0.1, weights=(1.0, 1.2))
    low, high = sigmoid(-0.1), sigmoid(-0.25)
    assert loss.tolist() == pytest.approx([low, 1.2 * high])
    loss.sum().backward()
    assert ratios.grad is not None
    assert ratios.grad.tolist() == pytest.approx([-0.1 * low * (1 - low), 1.2 * 0.1 * high * (1 - high)])


def test_ktos_reference_point_is_a_mean_that_is_never_negative() -> None:
    assert direct.kto_reference(3.0, 4.0) == 0.75
    assert direct.kto_reference(-3.0, 4.0) == 0.0
    assert direct.kto_reference(0.0, 0.0) == 0.0


REFERENCE = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)
WINS = torch.sigmoid(REWARD[:, None] - REWARD[None, :])
"""Chance that the answer of the row is preferred to that of the column."""
OTHERS = ~torch.eye(4, dtype=torch.bool)


def optimum(loss: PairLoss, wins: Tensor) -> Tensor:
    """The policy over four answers that minimises the expected loss when all pairs are drawn alike."""
    logits = REFERENCE.log().clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16)

    def closure() -> Tensor:
        optimizer.zero_grad()
        ratio = logits.log_softmax(-1) - REFERENCE.log()
        found = (wins * loss((ratio[:, None] - ratio[None, :]).flatten()).view(4, 4))[OTHERS].mean()
        found.backward()
        return found

    optimizer.step(closure)
    return logits.detach().softmax(-1)


def boltzmann(exponents: Tensor) -> Tensor:
    weight = REFERENCE * exponents.exp()
    return weight / weight.sum()


def test_dpo_finds_the_boltzmann_policy() -> None:
    found = optimum(partial(direct.dpo, beta=0.7), WINS)
    assert torch.allclose(found, boltzmann(REWARD / 0.7), atol=1e-6)


def test_ipo_finds_the_policy_of_mean_win_rates() -> None:
    """π ∝ ref·exp(E_y'[P(y ≻ y')]/τ), y' drawn from all answers alike, itself (one half) included."""
    found = optimum(partial(direct.ipo, tau=0.7), WINS)
    assert torch.allclose(found, boltzmann(WINS.mean(1) / 0.7), atol=1e-6)


def test_ipo_is_finite_where_one_answer_always_wins() -> None:
    always = (REWARD[:, None] > REWARD[None, :]).double() + 0.5 * torch.eye(4, dtype=torch.float64)
    found = optimum(partial(direct.ipo, tau=0.7), always)
    assert torch.allclose(found, boltzmann(always.mean(1) / 0.7), atol=1e-6)


def two(loss: PairLoss, p: float) -> float:
    """βh at the minimum of p L(h) + (1-p) L(-h), found by bisection of its slope, β being 1."""
    low, high = -20.0, 20.0
    for _ in range(80):
        h = (low + high) / 2
        slope = p * value_and_slope(loss, h)[1] - (1 - p) * value_and_slope(loss, -h)[1]
        low, high = (low, h) if slope > 0 else (h, high)
    return (low + high) / 2


def test_cdpo_believes_its_labels_less() -> None:
    """σ(βh) = (1-ε)p + ε(1-p)."""
    assert sigmoid(two(partial(direct.cdpo, beta=1.0, smoothing=0.1), 0.8)) == pytest.approx(0.9 * 0.8 + 0.1 * 0.2)


def test_robust_dpo_undoes_flipped_labels() -> None:
    """Labels that are true with 0.8 and then flipped with 0.1 are right with 0.74; the optimum is σ(βh) = 0.8."""
    flipped = 0.9 * 0.8 + 0.1 * 0.2
    assert sigmoid(two(partial(direct.robust_dpo, beta=1.0, smoothing=0.1), flipped)) == pytest.approx(0.8)
    assert sigmoid(two(partial(direct.dpo, beta=1.0), flipped)) == pytest.approx(flipped)


def test_cdpo_and_robust_dpo_find_their_policies_over_four_answers() -> None:
    """Flips turn win rates w into w(1-ε) + (1-w)ε. Robust DPO learns DPO's policy from them."""
    noisy = 0.9 * WINS + 0.1 * (1 - WINS)
    found = optimum(partial(direct.robust_dpo, beta=0.7, smoothing=0.1), noisy)
    assert torch.allclose(found, boltzmann(REWARD / 0.7), atol=1e-6)
    assert torch.allclose(
        optimum(partial(direct.cdpo, beta=0.7, smoothing=0.1), WINS), optimum(partial(direct.dpo, beta=0.7), noisy)
    )
