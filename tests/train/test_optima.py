"""Every policy gradient reaches the optimum that it ought to, through the real loop, feed and objective.

Tables of one and of two tokens, whose optimum is known in closed form; samplers without luck; whitening off, since at
the optimum the advantages vanish and it would blow up what noise is left; a decaying learning rate.

With the KL in the reward (k1) the aim is J = E[r - β log π/ref], whose maximum over all policies is ref·exp(r/β)/Z:
with p the policy, J = β log Z - β KL(p ‖ ref·exp(r/β)/Z).

With an estimator k in the loss the step at a state s goes along d(s)·[Σ_a ∇p(a) Q(a) - β E_p ∇k], where d(s) is how
often s is visited and Q(a) the expected score after a: no KL that is still to come is in it. So each state settles by
itself, the last ones first.
- k2: E_p ∇k2 = Σ p (log p - log ref) ∇log p = ∇KL(p‖ref), hence p = ref·exp(Q/β)/Z.
- k3: E_p ∇k3 = Σ p (1 - ref/p) ∇log p = -Σ ref ∇log p = ∇KL(ref‖p). For softmax logits θ_a the step along it is
  p_a (Q_a - Q̄) - β (p_a - ref_a), with Q̄ = Σ p Q. At rest p_a = β ref_a/(c - Q_a), and c = β + Q̄ is the number
  above all Q that makes the sum 1: indeed Σ p_a (c - Q_a) = β Σ ref_a = β.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from tabular import Answer, Exact, Payout, Scripted, Table, answers, feed, said
from torch import Tensor

from burnish.proof.step import one_step
from burnish.train.advantages import Advantages, Baseline, KlInReward, PerAnswer, PerToken
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Objective, Ppo
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.policy_gradient import Correction, KlInLoss, PolicyGradient, Variant

BETA = 0.7
STEPS = 400
BANDIT = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).expand(5, 4)
TREE = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.5, 0.2, 0.3]])
PAID: dict[int, dict[Answer, float]] = {
    1: {(0,): 0.0, (1,): 1.0, (2,): 0.5, (3,): 2.0},
    2: dict(zip(answers(3, 2), (0.0, 1.0, 0.5, 0.4, -0.5, 1.5, 0.2, 1.2, -1.0), strict=True)),
}
REFERENCES = {1: BANDIT, 2: TREE}
lengths = pytest.mark.parametrize("length", [1, 2])


def trained(
    folder: Path, length: int, objective: Objective, advantages: Advantages, *, learns_without_advantage: bool = False
) -> Table:
    """A table that began as the reference, after training."""
    table = Table(REFERENCES[length])
    made = feed(
        table,
        folder,
        advantages,
        sampler=Exact(table, length),
        reward=Payout(PAID[length]),
        reference=REFERENCES[length],
        samples_per_prompt=200,
        learns_without_advantage=learns_without_advantage,
    )
    optimizer = Optimizer(table, OptimConfig(lr=0.05, steps=STEPS, schedule="linear"))
    fit(table, made, objective, optimizer, FitConfig(steps=STEPS, seed=0))
    return table


def boltzmann(length: int) -> tuple[Tensor, Tensor]:
    """ref·exp(r/β)/Z of every answer, and the soft value β log Z of every state that has an answer before it."""
    reference = Table(REFERENCES[length])
    scores = torch.tensor(list(PAID[length].values()))
    weight = reference.likelihoods(list(PAID[length])).detach() * (scores / BETA).exp()
    whole = BETA * weight.sum().log()
    if length == 1:
        return weight / weight.sum(), whole[None]
    after = BETA * (TREE[:3] * (scores.view(3, 3) / BETA).exp()).sum(-1).log()
    return weight / weight.sum(), torch.cat([after, whole[None]])


def rloo(baseline: Baseline) -> PerAnswer:
    return PerAnswer(kl=KlInReward(BETA), baseline=baseline)


PPO = Ppo(cliprange=0.2, cliprange_value=10.0, vf_coef=0.5)
IN_REWARD: dict[str, Callable[[], tuple[Objective, Advantages]]] = {
    "ppo": lambda: (PPO, PerToken(kl=KlInReward(BETA), whiten=False)),
    "ppo, leave one out": lambda: (PPO, PerToken(kl=KlInReward(BETA), leave_one_out=True, whiten=False)),
    "rloo": lambda: (PolicyGradient("rloo", budget=2), rloo("leave_one_out")),
    "reinforce": lambda: (PolicyGradient("reinforce", budget=2), rloo("none")),
    "dr_grpo": lambda: (PolicyGradient("dr_grpo", budget=2), rloo("mean")),
    "reinforce_pp": lambda: (
        PolicyGradient("reinforce_pp", budget=2),
        PerToken(kl=KlInReward(BETA), critic=False, lam=1.0, whiten=False),
    ),
}


@lengths
@pytest.mark.parametrize("method", IN_REWARD)
def test_with_the_kl_in_the_reward_the_optimum_is_the_boltzmann_policy(
    tmp_path: Path, method: str, length: int
) -> None:
    """And PPO's critic learns the soft values. A baseline moves neither policy nor KL; the critic then learns what it
    leaves, the value less the mean score."""
    table = trained(tmp_path, length, *IN_REWARD[method]())
    optimum, values = boltzmann(length)
    found = table.likelihoods(list(PAID[length])).detach()
    assert found.tolist() == pytest.approx(optimum.tolist(), abs=0.01)
    if method.startswith("ppo"):
        mean = float(optimum @ torch.tensor(list(PAID[length].values()))) if "leave" in method else 0.0
        learned = table.values_S[-len(values) :]
        assert learned.tolist() == pytest.approx((values - mean).tolist(), abs=0.03)


def soft(reference_V: Tensor, score_V: Tensor) -> Tensor:
    weight_V = reference_V * (score_V / BETA).exp()
    return weight_V / weight_V.sum()


def hyperbolic(reference_V: Tensor, score_V: Tensor) -> Tensor:
    """β ref/(c - Q): c lies above the largest Q by at most β, and the sum falls in c."""
    low, high = score_V.max(), score_V.max() + BETA
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (BETA * reference_V / (middle - score_V)).sum() > 1 else (low, middle)
    return BETA * reference_V / (high - score_V)


@lengths
@pytest.mark.parametrize("variant", ["dr_grpo", "dapo", "cispo"])
@pytest.mark.parametrize(("estimator", "settled"), [("k2", soft), ("k3", hyperbolic)])
def test_with_the_kl_in_the_loss_every_state_settles_by_itself(
    tmp_path: Path, variant: Variant, estimator: str, settled: Callable[[Tensor, Tensor], Tensor], length: int
) -> None:
    kl = KlInLoss(estimator=estimator, coef=BETA)
    objective = PolicyGradient(variant, budget=2, kl=kl)
    found = trained(
        tmp_path, length, objective, PerAnswer(baseline="mean"), learns_without_advantage=True
    ).probabilities()
    if length == 1:
        scores = torch.tensor(list(PAID[1].values()))
        assert found[-1].tolist() == pytest.approx(settled(BANDIT[-1], scores).tolist(), abs=0.01)
        return
    scores = torch.tensor(list(PAID[2].values())).view(3, 3)
    last = torch.stack([settled(TREE[a], scores[a]) for a in range(3)])
    first = settled(TREE[3], (last * scores).sum(-1))
    assert found.flatten().tolist() == pytest.approx(torch.cat([last, first[None]]).flatten().tolist(), abs=0.015)


SMALL = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.55, 0.45]])
NEAR = torch.tensor([[0.5, 0.5], [0.3, 0.7], [0.8, 0.2]])
EVERY = answers(2, 2)
SCORES = dict(zip(EVERY, (0.25, -1.0, 2.0, 0.5), strict=True))


def expected_step(
    folder: Path,
    objective: Objective,
    advantages: Advantages,
    size: int,
    *,
    behind: Tensor = SMALL,
) -> Tensor:
    """The mean over all groups of `size` answers, each as likely as `behind` has it, of what the loop's step would be.
    Shape S, V."""
    table, sampler = Table(SMALL), Table(behind)
    table.values_S.data.copy_(torch.tensor([0.3, -0.8, 0.1]))
    likely = dict(zip(EVERY, sampler.likelihoods(EVERY).tolist(), strict=True))
    total = torch.zeros(SMALL.numel(), dtype=torch.float64)
    for number, group in enumerate(product(EVERY, repeat=size)):
        made = feed(
            table,
            folder / str(number),
            advantages,
            sampler=Scripted(said(sampler, *group)),
            reward=Payout(SCORES),
            reference=NEAR,
            samples_per_prompt=size,
            learns_without_advantage=True,
        )
        gradient = one_step(table, objective, made.next(0).batches).gradient
        total += gradient[: SMALL.numel()] * float(torch.tensor([likely[each] for each in group]).prod())
    return -total.view_as(SMALL)


def exact(beta: float) -> Tensor:
    """∇ of E[r - β log π/ref], by adding up all answers. Shape S, V."""
    table, reference = Table(SMALL.double()), Table(NEAR.double())
    likely = table.likelihoods(EVERY)
    scores = torch.tensor(list(SCORES.values()), dtype=torch.float64)
    aim = (likely * (scores - beta * (likely / reference.likelihoods(EVERY)).log())).sum()
    return torch.autograd.grad(aim, table.logits_SV)[0]


def forward_kl() -> Tensor:
    """∇ of Σ_t E KL(ref‖π), how often states are visited held fixed. Shape S, V."""
    table = Table(SMALL.double())
    logprobs_SV = table.logits_SV.log_softmax(-1)
    visits_S, near_SV = torch.cat([SMALL[2], torch.ones(1)]).double(), NEAR.double()
    total = (visits_S[:, None] * near_SV * (near_SV.log() - logprobs_SV)).sum()
    return torch.autograd.grad(total, table.logits_SV)[0]


def test_rloo_and_reinforce_step_along_the_exact_gradient(tmp_path: Path) -> None:
    for variant, baseline, size in (("rloo", "leave_one_out", 3), ("reinforce", "none", 2)):
        objective = PolicyGradient(variant, budget=9)
        found = expected_step(tmp_path / variant, objective, rloo(baseline), size)
        assert torch.allclose(found, exact(BETA), atol=2e-6), variant


def test_ppo_and_reinforce_pp_step_along_it_a_token(tmp_path: Path) -> None:
    """Means over 2 tokens: half of it, whatever the critic says so far. λ = 1."""
    for name, objective, critic in (("ppo", PPO, True), ("pp", PolicyGradient("reinforce_pp", budget=9), False)):
        advantages = PerToken(kl=KlInReward(BETA), critic=critic, lam=1.0, whiten=False)
        found = expected_step(tmp_path / name, objective, advantages, 2)
        assert torch.allclose(found, exact(BETA) / 2, atol=2e-6), name


@pytest.mark.parametrize(
    ("variant", "share"), [("dr_grpo", 1 / 9), ("grpo", 1 / 2), ("dapo", 1 / 2), ("gspo", 1 / 2), ("cispo", 1 / 2)]
)
def test_comparing_with_the_groups_mean_shortens_the_step(tmp_path: Path, variant: Variant, share: float) -> None:
    """By (G-1)/G, here 2/3; the share is that of two tokens by budget, or by their number."""
    found = expected_step(tmp_path, PolicyGradient(variant, budget=9), PerAnswer(baseline="mean"), 3)
    assert torch.allclose(found, 2 / 3 * share * exact(0.0), atol=2e-6)


def test_k3_in_the_loss_steps_along_the_other_divergence(tmp_path: Path) -> None:
    objective = PolicyGradient("dr_grpo", budget=9, kl=KlInLoss(coef=BETA))
    found = expected_step(tmp_path, objective, PerAnswer(baseline="mean"), 3)
    assert torch.allclose(found, (2 / 3 * exact(0.0) - BETA * forward_kl()) / 9, atol=2e-6)


def test_a_pair_divided_by_its_spread_learns_who_won_and_not_by_how_much(tmp_path: Path) -> None:
    """Of two answers the better one has the advantage ½d/(d/√2) = 1/√2, d being their difference."""
    found = expected_step(tmp_path, PolicyGradient("grpo", budget=9), PerAnswer(baseline="standardised", eps=0.0), 2)
    table = Table(SMALL.double())
    likely = table.likelihoods(EVERY)
    wins = torch.zeros((), dtype=torch.float64)
    for a, b in product(range(4), repeat=2):
        if SCORES[EVERY[a]] > SCORES[EVERY[b]]:
            wins = wins + 2 * likely[a].detach() * likely[b].detach() * (likely[a].log() - likely[b].log())
    [gradient] = torch.autograd.grad(wins / 2 / 2 / 2**0.5, table.logits_SV)  # mean over 2 answers, over 2 tokens
    assert torch.allclose(found, gradient, atol=2e-6)


def test_weights_of_whole_answers_make_up_for_another_sampler(tmp_path: Path) -> None:
    """Answers were sampled from another policy: weighed, the step is the exact one; unweighed, it is not."""
    weighed = Correction(level="answer", rule="truncate", most=1e9)
    advantages = PerAnswer(baseline="mean")
    found = expected_step(
        tmp_path / "weighed", PolicyGradient("dr_grpo", budget=9, correction=weighed), advantages, 3, behind=NEAR
    )
    assert torch.allclose(found, 2 / 3 * exact(0.0) / 9, atol=2e-6)
    plain = expected_step(tmp_path / "plain", PolicyGradient("dr_grpo", budget=9), advantages, 3, behind=NEAR)
    assert float((plain - found).norm()) > 0.1 * float(found.norm())
