"""Divergences of whole distributions, by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from burnish.losses.divergence import generalised_jsd

P = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]], dtype=torch.float64)
"""The teacher's."""
Q = torch.tensor([[0.25, 0.25, 0.5], [0.2, 0.3, 0.5]], dtype=torch.float64)


def found(beta: float) -> list[float]:
    """Of logits that are shifted: a constant beside them changes nothing."""
    return generalised_jsd(Q.log() + 3, P.log() - 1, beta).tolist()


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.0, 0.25 * log(2)),  # KL(P‖Q) = ½ ln 2 - ¼ ln 2
        (1.0, 0.25 * log(2)),  # KL(Q‖P) = -¼ ln 2 + ½ ln 2
        (0.5, 0.5 * log(4 / 3) + 0.25 * log(2 / 3)),  # M = (⅜, ¼, ⅜): KL of both is ½ ln 4/3 + ¼ ln 2/3
    ],
)
def test_by_hand(beta: float, expected: float) -> None:
    assert found(beta) == pytest.approx([expected, 0.0], abs=1e-6)


def test_it_grows_into_both_kls() -> None:
    """β KL(P‖Q) for small β, (1-β) KL(Q‖P) for large."""
    assert found(1e-3)[0] / 1e-3 == pytest.approx(0.25 * log(2), rel=5e-3)
    assert found(1 - 1e-3)[0] / 1e-3 == pytest.approx(0.25 * log(2), rel=5e-3)


def test_swapping_the_two_turns_beta_round() -> None:
    swapped = generalised_jsd(P.log(), Q.log(), 0.3)
    assert swapped.tolist() == pytest.approx(generalised_jsd(Q.log(), P.log(), 0.7).tolist(), abs=1e-7)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_its_gradient_by_the_logits(beta: float) -> None:
    """q_v (g_v - Σ q g) with g = -p/q for β = 0, log q/p for 1, and (1-β) log q/m between: what the probabilities'
    derivative is, up to what all tokens share."""
    logits = Q.log().clone().requires_grad_(True)
    generalised_jsd(logits, P.log(), beta).sum().backward()
    middle = beta * P + (1 - beta) * Q
    slope = {0.0: -P / Q, 1.0: (Q / P).log()}.get(beta, (1 - beta) * (Q / middle).log())
    expected = Q * (slope - (Q * slope).sum(-1, keepdim=True))
    assert logits.grad is not None
    assert logits.grad.tolist() == [pytest.approx(row, abs=1e-6) for row in expected.tolist()]
