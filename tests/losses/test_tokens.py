"""Token losses against numbers worked out here."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.losses.tokens import answer_sums, entropy, nll, target_logprobs


def test_log_probabilities_of_a_known_distribution() -> None:
    probs_NV = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=torch.float64)
    found = target_logprobs(probs_NV.log() + 3.0, torch.tensor([1, 2]))
    assert found.tolist() == pytest.approx([math.log(0.25), math.log(0.7)], abs=1e-6)
    assert entropy(probs_NV.log()).tolist() == pytest.approx(
        [1.5 * math.log(2), -(0.1 * math.log(0.1) + 0.2 * math.log(0.2) + 0.7 * math.log(0.7))], abs=1e-6
    )


def test_a_target_pulls_its_own_logit_up_and_each_down_by_its_probability() -> None:
    """∂L/∂z_v = w (p_v - [v = y]): of ¼ among ½, ¼, ¼ with weight 1, and of 0.7 among 0.1, 0.2, 0.7 with weight ½."""
    logits_NV = (torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]).log() + 3.0).requires_grad_(True)
    logprobs_N = target_logprobs(logits_NV, torch.tensor([1, 2]))
    logprobs_N.retain_grad()
    nll(logprobs_N, torch.tensor([1.0, 0.5])).backward()
    assert logprobs_N.grad is not None
    assert logits_NV.grad is not None
    assert logprobs_N.grad.tolist() == [-1.0, -0.5]
    slopes = [0.5, -0.75, 0.25, 0.05, 0.1, -0.15]
    assert logits_NV.grad.flatten().tolist() == pytest.approx(slopes, abs=1e-6)


def test_a_zero_head_costs_the_log_of_the_vocabulary() -> None:
    logprobs_N = target_logprobs(torch.zeros(4, 49152), torch.tensor([0, 1, 49151, 7]))
    assert float(nll(logprobs_N, torch.ones(4)) / 4) == pytest.approx(10.802673, abs=1e-5)


def test_bfloat16_logits_are_summed_in_fp32() -> None:
    logits_NV = torch.zeros(1, 49152, dtype=torch.bfloat16)
    assert float(target_logprobs(logits_NV, torch.tensor([3]))) == pytest.approx(-math.log(49152), rel=1e-6)


# Oracle O1: answers of length 2, 4, 6, 8 whose every token costs 1, 2, 3, 4.
LENGTHS = (2, 4, 6, 8)
COST_N = torch.tensor([float(row + 1) for row, length in enumerate(LENGTHS) for _ in range(length)])


@pytest.mark.parametrize(
    ("weights", "count", "expected"),
    [
        ([1.0] * 20, 20, 3.0),  # token mean: (2 + 8 + 18 + 32) / 20
        ([1 / length for length in LENGTHS for _ in range(length)], 4, 2.5),  # mean of the answers' means
        ([1.0] * 20, 4, 15.0),  # mean of the answers' sums
        ([1.0] * 20, 4 * 10, 1.5),  # a fixed budget of 10 tokens an answer
    ],
)
def test_aggregation_is_only_weights_and_a_count(weights: list[float], count: float, expected: float) -> None:
    assert float(nll(-COST_N, torch.tensor(weights)) / count) == pytest.approx(expected)


def test_two_micro_batches_divide_once() -> None:
    """Ten tokens at 2.0 and thirty at 1.0: the mean is 1.25; the mean of the two means, 1.5, is the classic bug."""
    sums = nll(torch.full((10,), -2.0), torch.ones(10)) + nll(torch.full((30,), -1.0), torch.ones(30))
    assert float(sums / 40) == pytest.approx(1.25)


def test_answer_sums_add_up_the_tokens_of_each_answer() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    found = answer_sums(values, torch.tensor([0, 2, 0, 2]), 4)
    assert found.tolist() == [5.0, 0.0, 10.0, 0.0]
    found[2].backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 0, 1]
