"""The objective of policy gradients without a critic: what it averages over, weighs and skips, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from tabular import Payout, Scripted, Table, feed, said
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.proof.step import Step, one_step
from burnish.train.advantages import PerAnswer
from burnish.train.feeds import DatasetFeed
from burnish.train.loop import FitConfig, Quiet, fit
from burnish.train.objectives import Sft, total
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.policy_gradient import Correction, KlInLoss, PolicyGradient, Variant
from burnish.train.pretraining import PretrainingMix, WithPretraining

UNIT = torch.tensor([[math.exp(-1), 1 - math.exp(-1)]]).expand(3, 2)
"""Token 0 has log-probability -1 after every token; the prompt is token 2."""
LENGTHS = (2, 4, 6, 8)


def rows(**extra: Tensor) -> Batch:
    """Four prompts with an answer each, of 2, 4, 6 and 8 tokens."""
    batch = pack([Document(row=f"{n}", ids=[2], branches=[[0] * length]) for n, length in enumerate(LENGTHS)])
    return batch.with_extra(**extra)


def loss_of(objective: PolicyGradient, batch: Batch, table: Table | None = None) -> float:
    result = objective.loss(table or Table(UNIT), batch)
    return float(total(objective, result, objective.counts(batch)).detach())


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("dapo", 3.0),
        ("cispo", 3.0),
        ("grpo", 2.5),
        ("gspo", 2.5),
        ("reinforce_pp", 2.5),
        ("rloo", 15.0),
        ("reinforce", 15.0),
        ("dr_grpo", 1.5),
    ],
)
def test_what_each_averages_over(variant: Variant, expected: float) -> None:
    """Oracle O1: each token of answer n costs n = 1..4. At ratio 1 a clipped loss is -A, and -A log π is A."""
    worth_N = torch.arange(1.0, 5.0)[rows().answer_N]
    sign = 1 if variant in ("rloo", "reinforce", "cispo") else -1
    batch = rows(advantages_N=sign * worth_N)
    assert loss_of(PolicyGradient(variant, budget=10), batch) == pytest.approx(expected)
    twice = rows(advantages_N=sign * worth_N, absent_answers_D=torch.tensor([4.0, 0, 0, 0]))
    twice = twice.with_extra(absent_tokens_D=torch.tensor([20.0, 0, 0, 0]))
    assert loss_of(PolicyGradient(variant, budget=10), twice) == pytest.approx(expected / 2)


@pytest.mark.parametrize("variant", get_args(Variant))
def test_how_a_step_is_cut_changes_nothing(variant: Variant) -> None:
    """For all of them; of grpo the laws try it on models too."""
    documents = [Document(row=f"{n}", ids=[2], branches=[[0] * n, [1] * (4 - n)]) for n in (1, 2, 3)]
    objective = PolicyGradient(variant, budget=9, kl=KlInLoss(coef=0.3))

    def step(*parts: list[Document]) -> Step:
        return one_step(Table(UNIT), objective, [filled(pack(part)) for part in parts])

    def filled(batch: Batch) -> Batch:
        row_D = torch.tensor([float(row) for row in batch.rows])
        return batch.with_extra(
            advantages_N=torch.sin(row_D[batch.prompt_B][batch.answer_N] + batch.target_N),
            old_logprobs_N=torch.log(UNIT[0][batch.target_N]) + 0.3 * torch.sin(row_D[batch.prompt_B][batch.answer_N]),
            ref_logprobs_N=torch.log(UNIT[0][batch.target_N]) - 0.2,
            absent_answers_D=row_D,
            absent_tokens_D=2 * row_D,
        )

    whole = step(documents)
    for split in ([documents[:1], documents[1:]], [[each] for each in reversed(documents)]):
        assert max(step(*split).apart(whole).values()) < 1e-5


@pytest.mark.parametrize(("variant", "expected"), [("dapo", 3.0), ("grpo", 2.5), ("dr_grpo", 1.5)])
def test_a_kl_in_the_loss_is_averaged_as_the_loss_is(variant: Variant, expected: float) -> None:
    """A reference as likely in answer n that k2 = n: log-ratios of √(2n)."""
    apart_N = (2 * torch.arange(1.0, 5.0)[rows().answer_N]).sqrt()
    batch = rows(advantages_N=torch.zeros(20), ref_logprobs_N=apart_N - 1)
    objective = PolicyGradient(variant, budget=10, kl=KlInLoss(estimator="k2", coef=0.5))
    assert loss_of(objective, batch) == pytest.approx(expected / 2)


@pytest.mark.parametrize(
    ("level", "rule", "weights"),
    [
        ("token", "truncate", [0.5, 2.0]),
        ("token", "mask", [0.5, 0.0]),
        ("answer", "truncate", [0.25, 2.0]),
        ("answer", "mask", [0.0, 0.0]),
    ],
)
def test_importance_weights_multiply_the_loss(level: str, rule: str, weights: list[float]) -> None:
    """Two answers of 2 tokens, which the trainer finds half and three times as likely a token as the sampler did."""
    batch = pack([Document(row=f"{n}", ids=[2], branches=[[0, 0]]) for n in range(2)])
    gap_N = torch.tensor([0.5, 0.5, 3.0, 3.0]).log()
    batch = batch.with_extra(advantages_N=-torch.ones(4), sampler_logprobs_N=-1 - gap_N)
    correction = Correction(level=level, rule=rule, most=2.0, least=0.4)
    result = PolicyGradient("grpo", budget=9, correction=correction).loss(Table(UNIT), batch)
    assert float(result.sums["policy"].detach()) == pytest.approx(sum(weights))
    assert result.metrics["sampling/importance"] == (pytest.approx(2 * sum(weights)), 4.0)
    assert result.metrics["sampling/logp_difference"][0] == pytest.approx(2 * math.log(2) + 2 * math.log(3))


@pytest.mark.parametrize("level", ["token", "answer"])
@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_kl_in_the_loss_of_what_another_sampler_drew_has_the_gradient_it_has_on_the_policys_own(
    estimator: str, level: str
) -> None:
    """Added up over every answer of one token, as often as the sampler draws it. With weights π/sampler it is, in the
    logits, ∇KL(ref‖π) = π - ref of k3, and ∇KL(π‖ref) = π (log π/ref - KL(π‖ref)) of k2."""
    own_V, sampler_V, ref_V = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]])
    table = Table(own_V.expand(4, 3))
    correction = Correction(level=level, rule="truncate", most=100.0)
    objective = PolicyGradient("dapo", budget=9, kl=KlInLoss(estimator=estimator, coef=1.0), correction=correction)
    for token in range(3):
        batch = pack([Document(row="0", ids=[3], branches=[[token]])]).with_extra(
            advantages_N=torch.zeros(1),
            ref_logprobs_N=ref_V[token].log()[None],
            sampler_logprobs_N=sampler_V[token].log()[None],
        )
        (sampler_V[token] * objective.loss(table, batch).sums["kl"]).backward()
    ratio_V = (own_V / ref_V).log()
    expected_V = own_V - ref_V if estimator == "k3" else own_V * (ratio_V - (own_V * ratio_V).sum())
    assert table.logits_SV.grad is not None
    assert table.logits_SV.grad[3].tolist() == pytest.approx(expected_V.tolist(), abs=1e-6)


def test_the_only_step_of_an_iteration_has_ratio_one_and_measures_the_drift() -> None:
    table = Table(UNIT)
    batch = rows(advantages_N=torch.ones(20), ref_logprobs_N=torch.full((20,), -1.5))
    result = PolicyGradient("dapo", budget=9).loss(table, batch)
    assert result.metrics["val/ratio"] == (20.0, 20.0)
    assert result.metrics["policy/clipfrac_avg"] == (0.0, 20.0)
    assert result.metrics["objective/kl"] == (pytest.approx(0.5 * 20), 4.0)
    told = batch.with_extra(old_logprobs_N=torch.full((20,), -1.0))
    steps = [one_step(table, PolicyGradient("dapo", budget=9), [each]) for each in (batch, told)]
    assert steps[0].apart(steps[1]) == pytest.approx({"loss": 0.0, "gradient": 0.0}, abs=1e-6)


def test_clipped_tokens_are_those_that_lose_their_gradient() -> None:
    """Ratios e^½ with A > 0 and e^-½ with A < 0 are clipped; with the signs changed they are not."""
    shift_N = torch.tensor([0.5, 0.5, -0.5, -0.5])
    batch = pack([Document(row="0", ids=[2], branches=[[0, 0, 0, 0]])])
    batch = batch.with_extra(old_logprobs_N=-1 - shift_N, advantages_N=torch.tensor([1.0, -1.0, 1.0, -1.0]))
    result = PolicyGradient("dapo", budget=9).loss(Table(UNIT), batch)
    assert result.metrics["policy/clipfrac_avg"] == (2.0, 4.0)


CORPUS = [Document(row=f"t{n}", ids=[2, token], weights=[0, 1]) for n, token in enumerate([0] * 3 + [1])]


def mixed(table: Table, folder: Path, score: float) -> PretrainingMix:
    sampler = Scripted(said(table, (0,), (1,)))
    paid = Payout({(0,): score, (1,): 0.0})
    made = feed(table, folder, PerAnswer(), sampler=sampler, reward=paid, reference=None, learns_without_advantage=True)
    return PretrainingMix(made, DatasetFeed(CORPUS, per_step=4, micro_tokens=4, seed=0))


def test_text_beside_the_answers_adds_its_own_gradient(tmp_path: Path) -> None:
    """Each term is divided by its own count: the step is that of the answers and γ times that of the text."""
    table = Table(UNIT)
    work = mixed(table, tmp_path, 1.0).next(0)
    plain = PolicyGradient("grpo", budget=9)
    whole = one_step(table, WithPretraining(plain, 3.0), work.batches)
    answers = one_step(table, plain, work.batches[:1])
    text = one_step(table, Sft(), work.batches[1:])
    assert len(work.batches) == 3  # the corpus in two micro-batches
    assert whole.loss == pytest.approx(answers.loss + 3 * text.loss)
    assert torch.allclose(whole.gradient, answers.gradient + 3 * text.gradient, atol=1e-6)


class Rows(Quiet):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None:
        self.rows.append(metrics)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_how_long_the_answers_own_gradient_is_stands_beside_that_of_both(tmp_path: Path, dtype: torch.dtype) -> None:
    """So that a weight of text that leaves nothing of the answers is seen. In bfloat16 gradients add up elsewhere."""
    exact, plain = Table(UNIT), PolicyGradient("grpo", budget=9)
    work = mixed(exact, tmp_path, 1.0).next(0)
    steps = {
        "grad_norm/own": one_step(exact, plain, work.batches[:1]),
        "grad_norm": one_step(exact, WithPretraining(plain, 3.0), work.batches),
    }
    table, log = Table(UNIT).to(dtype), Rows()
    optimizer = Optimizer(table, OptimConfig(lr=0.1, steps=1))
    fit(table, mixed(table, tmp_path, 1.0), WithPretraining(plain, 3.0), optimizer, FitConfig(steps=1, seed=0), log=log)
    assert {name: log.rows[0][name] for name in steps} == pytest.approx(
        {name: float(step.gradient.norm()) for name, step in steps.items()}, rel=1e-2
    )
    assert log.rows[0]["grad_norm"] > 1.5 * log.rows[0]["grad_norm/own"] > 0.0


def test_without_a_reward_the_policy_learns_the_text(tmp_path: Path) -> None:
    """Three quarters of the corpus are token 0."""
    table = Table(UNIT)
    optimizer = Optimizer(table, OptimConfig(lr=0.1, steps=200, schedule="linear"))
    objective = WithPretraining(PolicyGradient("grpo", budget=9), 3.0)
    fit(table, mixed(table, tmp_path, 0.0), objective, optimizer, FitConfig(steps=200, seed=0))
    assert table.probabilities()[2].tolist() == pytest.approx([0.75, 0.25], abs=2e-3)
