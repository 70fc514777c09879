"""What each direct loss does to the log-probability of each token, where the answers of a pair are of unequal length.

The better answer has three tokens of probability 0.4, 0.3, 0.2, and the worse one a token of 0.1. The reference says
0.1, 0.2, 0.3 and 0.4. Sums of log-ratios: log 4 and -log 4.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Output, Trainable
from burnish.train.direct import DirectPreference, Kto
from burnish.train.objectives import Objective, total

PAIR = Document(row="pair", ids=[9], branches=[[0, 1, 2], [3]])
SAID = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
REFERENCE = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
MEAN = math.log(0.4 * 0.3 * 0.2) / 3
"""Of the better answer's log-probabilities; that of the worse one is log 0.1."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slopes(objective: Objective) -> list[float]:
    """Of the step's loss, token by token."""
    logprobs_N = SAID.clone().requires_grad_(True)

    class Saying(Trainable):
        def forward(self, batch: Batch) -> Output:
            return Output(logprobs_N=logprobs_N)

    batch = pack([PAIR]).with_extra(
        ranks_B=torch.tensor([1, 2]), desirable_B=torch.tensor([True, False]), ref_logprobs_N=REFERENCE
    )
    total(objective, objective.loss(Saying(nn.Identity()), batch), objective.counts(batch)).backward()
    found: Tensor | None = logprobs_N.grad
    assert found is not None
    return found.tolist()


def test_dpo_moves_all_tokens_alike() -> None:
    """h = 2 log 4 and -β σ(-βh), whatever the length."""
    pull = 0.5 * sigmoid(-0.5 * 2 * math.log(4))
    assert slopes(DirectPreference("dpo", beta=0.5)) == pytest.approx([-pull] * 3 + [pull])


def test_ipo_pulls_towards_its_distance() -> None:
    """2 (h - 1/(2τ)) with 1/(2τ) = 5."""
    pull = 2 * (5 - 2 * math.log(4))
    assert slopes(DirectPreference("ipo", beta=0.1)) == pytest.approx([-pull] * 3 + [pull])


def test_dpo_by_length_moves_a_token_by_its_share_of_the_answer() -> None:
    """h = log 4 / 3 + log 4; a third of the pull for each of three tokens, all of it for the one."""
    pull = 0.5 * sigmoid(-0.5 * (math.log(4) / 3 + math.log(4)))
    assert slopes(DirectPreference("dpo_norm", beta=0.5)) == pytest.approx([-pull / 3] * 3 + [pull])


def test_simpo_has_no_reference_and_a_margin() -> None:
    """-β σ(γ - βh), h the difference of the means, shared by the length."""
    pull = 2.0 * sigmoid(0.8 - 2.0 * (MEAN - math.log(0.1)))
    assert slopes(DirectPreference("simpo", beta=2.0, gamma=0.8)) == pytest.approx([-pull / 3] * 3 + [pull])


def test_rpo_holds_the_better_answer_up() -> None:
    """DPO's pull, and α of the mean likelihood for the better answer alone."""
    pull = 0.5 * sigmoid(-0.5 * 2 * math.log(4))
    assert slopes(DirectPreference("dpo", beta=0.5, nll=0.7)) == pytest.approx([-pull - 0.7 / 3] * 3 + [pull])


def test_orpo_is_steeper_where_an_answer_is_likelier() -> None:
    """λ σ(-h) / (1 - p), shared by the length, and the mean likelihood of the better answer with weight 1.

    σ(-h) is the worse answer's share of both odds.
    """
    better, worse = math.exp(MEAN), 0.1
    odds = better / (1 - better), worse / (1 - worse)
    pull = 0.25 * odds[1] / (odds[0] + odds[1])
    up, down = (pull / (1 - better) + 1) / 3, pull / (1 - worse)
    assert slopes(DirectPreference("orpo", beta=0.25)) == pytest.approx([-up] * 3 + [down])


def test_kto_moves_each_answer_by_itself() -> None:
    """λ β σ(1 - σ) of ±(ρ - z0), over two answers; ρ = ±log 4, and nothing was measured: z0 = 0."""
    pull = 0.5 * sigmoid(0.5 * math.log(4)) * sigmoid(-0.5 * math.log(4)) / 2
    assert slopes(Kto(beta=0.5, undesirable_weight=1.2)) == pytest.approx([-pull] * 3 + [1.2 * pull])
