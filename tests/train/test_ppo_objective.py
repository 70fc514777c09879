"""What PPO's metrics say of a few tokens, by hand. Token 0 has log-probability -1 after every token."""

from __future__ import annotations

import math

import pytest
import torch
from tabular import Table

from burnish.batches import Batch, Document, pack
from burnish.train.objectives import Loss, Ppo

UNIT = torch.tensor([[math.exp(-1), 1 - math.exp(-1)]]).expand(3, 2)
PPO = Ppo(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1)


def four(**extra: list[float]) -> Batch:
    """One answer of four tokens 0. What is not given is as if nothing had moved and nothing were to be learned."""
    batch = pack([Document(row="0", ids=[2], branches=[[0, 0, 0, 0]])])
    still = {"old_logprobs_N": [-1.0] * 4, "old_values_N": [0.0] * 4, "advantages_N": [0.0] * 4, "returns_N": [0.0] * 4}
    return batch.with_extra(**{name: torch.tensor(values) for name, values in (still | extra).items()})


def mean(result: Loss, name: str) -> float:
    total, count = result.metrics[name]
    return total / count


def test_clipped_tokens_are_those_whose_clipped_loss_is_the_larger() -> None:
    """Ratios e^½, e^½, e^-½, e^-½ are all out of 0.8 to 1.2. With A = 1, -1, -1, 1 the surrogates -ρA and -clip(ρ)A are
    -1.65 and -1.2; 1.65 and 1.2; 0.61 and 0.8; -0.61 and -0.8: the clipped one is the larger twice."""
    batch = four(old_logprobs_N=[-1.5, -1.5, -0.5, -0.5], advantages_N=[1.0, -1.0, -1.0, 1.0])
    result = PPO.loss(Table(UNIT), batch)
    assert mean(result, "policy/clipfrac_avg") == 0.5
    assert mean(result, "loss/policy_avg") == pytest.approx((-1.2 + math.exp(0.5) + 0.8 - math.exp(-0.5)) / 4)
    assert mean(result, "policy/approxkl_avg") == pytest.approx(0.125)
    assert mean(result, "val/ratio") == pytest.approx(math.cosh(0.5))


def test_clipped_values_are_those_whose_clipped_loss_is_the_larger() -> None:
    """V = 0, V_old = -1, -1, 0.1, 1: clipped to -0.8, -0.8, 0, 0.8. With R = 1, -1, 5, 1 the squares are 1 and 3.24; 1
    and 0.04; 25 and 25; 1 and 0.04: three have left the range, and one is clipped."""
    table = Table(UNIT)
    batch = four(old_values_N=[-1.0, -1.0, 0.1, 1.0], returns_N=[1.0, -1.0, 5.0, 1.0])
    result = PPO.loss(table, batch)
    assert mean(result, "val/clipfrac_avg") == 0.25
    assert mean(result, "loss/value_avg") == pytest.approx((3.24 + 1 + 25 + 1) / 8)
    result.sums["value"].backward()
    assert table.values_S.grad is not None
    assert float(table.values_S.grad.sum()) == pytest.approx(1 - 5 - 1)  # V - R, but for the clipped one


@pytest.mark.parametrize("measured", [False, True])
def test_the_entropy_is_right_on_average_for_a_policy_that_has_moved(measured: bool) -> None:
    """One token of each kind is what an old policy of halves draws on average; its own entropy is ln 2."""
    batch = pack([Document(row="0", ids=[2], branches=[[0], [1]])])
    zero_N = torch.zeros(2)
    batch = batch.with_extra(old_values_N=zero_N, advantages_N=zero_N, returns_N=zero_N)
    batch = batch.with_extra(old_logprobs_N=torch.full((2,), 0.5).log())
    if measured:
        batch = batch.with_extra(entropy_N=torch.full((2,), math.log(2)))
    expected = -float((UNIT[0] * UNIT[0].log()).sum())
    assert mean(PPO.loss(Table(UNIT), batch), "policy/entropy_avg") == pytest.approx(expected, abs=1e-6)


def test_an_entropy_that_was_measured_stands_as_it_is_until_the_policy_moves() -> None:
    batch = four(entropy_N=[0.1, 0.2, 0.3, 0.6])
    assert mean(PPO.loss(Table(UNIT), batch), "policy/entropy_avg") == pytest.approx(0.3)
    assert mean(PPO.loss(Table(UNIT), four()), "policy/entropy_avg") == pytest.approx(1.0)  # -log π of each token


def test_what_sampler_and_trainer_say_differently_is_told() -> None:
    batch = four(sampler_logprobs_N=[-1.1, -0.9, -1.0, -1.2])
    result = PPO.loss(Table(UNIT), batch)
    assert mean(result, "sampling/logp_difference") == pytest.approx(0.1)
    assert "sampling/logp_difference" not in PPO.loss(Table(UNIT), four()).metrics
