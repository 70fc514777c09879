"""PPO's feed with the real loop and objective, on problems small enough to know the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from burnish.batches import Batch
from burnish.losses.returns import gae, whiten
from burnish.models.forward import Output, Trainable
from burnish.train.feeds import Work
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Ppo
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.rollouts import RolloutConfig, RolloutFeed, RolloutPrompt
from burnish.types import Sampling, Stop

PROMPT, END = 0, 4
REFERENCE = torch.tensor([0.4, 0.3, 0.2, 0.1])
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0])


class Bandit(Trainable):
    """One prompt, four answers of one token (ids 0..3), a value for the prompt. The same forward as a real model."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(nn.Identity())
        self.logits_V = nn.Parameter(logits.clone())
        self.state_value = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        logprobs_V = self.logits_V.log_softmax(-1)
        entropy = -(logprobs_V.exp() * logprobs_V).sum()
        ones_N = torch.ones(batch.target_N.numel())
        return Output(
            logprobs_N=logprobs_V[batch.target_N],
            entropy_N=(entropy * ones_N).detach(),
            values_N=self.state_value * ones_N,
        )


@dataclass
class Said:
    ids: tuple[int, ...]
    stop: Stop = Stop.EOS


class Exact:
    """Answers in the proportions of the policy, as nearly as the number of samples allows: a rollout without luck."""

    def __init__(self, module: Bandit) -> None:
        self.module = module

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int = 1) -> list[list[Said]]:
        probs = self.module.logits_V.detach().softmax(-1)
        edges = (probs.cumsum(0) * n).round().int().tolist()
        arms = [arm for arm, (a, b) in enumerate(zip([0, *edges], edges, strict=False)) for _ in range(b - a)]
        return [[Said((arm,)) for arm in arms] for _ in prompts]


class Payout:
    def scores(self, batch: Batch) -> Tensor:
        return REWARD[batch.target_N]


class Digits:
    def parse(self, ids: Sequence[int]) -> tuple[str, Stop]:
        return "".join(map(str, ids)), Stop.EOS

    def closed(self, ids: Sequence[int]) -> list[int]:
        return list(ids)  # an answer of one token is whole


def feed(module: Bandit, folder: Path, **changes: object) -> RolloutFeed:
    settings = {
        "prompts_per_iteration": 1,
        "samples_per_prompt": 400,
        "epochs": 1,
        "minibatches": 1,
        "micro_tokens": 1000,
        "kl_coef": 0.7,
        "gamma": 1.0,
        "lam": 0.95,
        "temperature": 1.0,
        "max_new_tokens": 1,
        "missing_eos_penalty": 0.0,
        "seed": 0,
        "whiten": False,
    }
    return RolloutFeed(
        module,
        reference=Bandit(REFERENCE.log()).requires_grad_(False),
        sampler=Exact(module),
        reward=Payout(),
        prompts=[RolloutPrompt(id="q", ids=(PROMPT,), shown={"prompt": []})],
        view=Digits(),
        samples=folder / "samples.jsonl",
        config=RolloutConfig(**(settings | changes)),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
def test_ppo_reaches_the_boltzmann_policy_and_the_soft_value(tmp_path: Path, baseline: str) -> None:
    """With KL in the reward the optimum is ref·exp(r/β)/Z, and the value of the prompt is β log Z.

    A baseline moves neither policy nor KL; the critic learns what it leaves, here the value less the mean score.
    """
    module = Bandit(REFERENCE.log())
    optimizer = Optimizer(module, OptimConfig(lr=0.03, steps=500, schedule="linear"))
    objective = Ppo(cliprange=0.2, cliprange_value=10.0, vf_coef=0.5)
    fit(module, feed(module, tmp_path, baseline=baseline), objective, optimizer, FitConfig(steps=500, seed=0))
    weight = REFERENCE * (REWARD / 0.7).exp()
    optimum = weight / weight.sum()
    value = 0.7 * math.log(float(weight.sum())) - (float(optimum @ REWARD) if baseline == "leave_one_out" else 0.0)
    assert module.logits_V.softmax(-1).tolist() == pytest.approx(optimum.tolist(), abs=0.01)
    assert module.state_value.item() == pytest.approx(value, abs=0.02)


def test_the_first_minibatch_has_ratio_one_and_no_kl(tmp_path: Path) -> None:
    module = Bandit(REFERENCE.log())
    work = feed(module, tmp_path).next(0)
    assert work.metrics["objective/kl"] == 0.0
    assert work.metrics["objective/scores"] == pytest.approx(float(REFERENCE @ REWARD), abs=0.005)
    assert work.metrics["val/eos_share"] == 1.0
    result = Ppo(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1).loss(module, work.batches[0])
    assert result.metrics["val/ratio"][0] == result.metrics["val/ratio"][1]


class Script:
    """Two answers of known length, the second cut by the budget."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int = 1) -> list[list[Said]]:
        return [[Said((1, 2, 3)), Said((2, 2), Stop.LENGTH)] for _ in prompts]


class Fixed:
    def scores(self, batch: Batch) -> Tensor:
        return torch.tensor([2.0, 1.0])


def test_rewards_kl_gae_and_whitening_as_by_hand(tmp_path: Path) -> None:
    module = Bandit(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    module.state_value.data.fill_(0.5)
    made = feed(module, tmp_path, kl_coef=0.1, lam=0.9, gamma=0.8, missing_eos_penalty=1.5, whiten=True)
    made._sampler, made._reward = Script(), Fixed()
    batch = made.next(0).batches[0]
    kl = [math.log(p / q) for p, q in [(0.2, 0.3), (0.3, 0.2), (0.4, 0.1), (0.3, 0.2), (0.3, 0.2)]]
    assert batch.extra["kl_N"].tolist() == pytest.approx(kl, abs=1e-6)
    assert batch.extra["scores_B"].tolist() == pytest.approx([2.0, -0.5])
    first = torch.tensor([-0.1 * k for k in kl[:3]]) + torch.tensor([0.0, 0.0, 2.0])
    second = torch.tensor([-0.1 * k for k in kl[3:]]) + torch.tensor([0.0, -0.5])
    parts = [gae(rewards, torch.full_like(rewards, 0.5), 0.8, 0.9) for rewards in (first, second)]
    assert batch.extra["advantages_N"].tolist() == pytest.approx(whiten(torch.cat([a for a, _ in parts])).tolist())
    assert batch.extra["returns_N"].tolist() == pytest.approx(torch.cat([r for _, r in parts]).tolist())


class Marked(Digits):
    """Token 3 ends an answer."""

    def closed(self, ids: Sequence[int]) -> list[int]:
        return list(ids) if 3 in ids else [*ids, 3]


class EndReader:
    """Scores an answer by its last token, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[int]] = []

    def scores(self, batch: Batch) -> Tensor:
        self.shown += [batch.target_N[batch.answer_N == answer].tolist() for answer in range(batch.last_B.numel())]
        return batch.ids_T[batch.last_B].float()


def test_the_reward_model_reads_cut_answers_at_an_end_marker(tmp_path: Path) -> None:
    made = feed(Bandit(REFERENCE.log()), tmp_path, missing_eos_penalty=0.25)
    reader = EndReader()
    made._sampler, made._reward, made._view = Script(), reader, Marked()
    batch = made.next(0).batches[0]
    assert reader.shown == [[1, 2, 3], [2, 2, 3]]
    assert batch.extra["scores_B"].tolist() == [3.0, 2.75]
    assert batch.target_N.tolist() == [1, 2, 3, 2, 2]  # what PPO learns from is what was sampled


def test_a_resumed_feed_hands_out_the_same_minibatches(tmp_path: Path) -> None:
    module = Bandit(REFERENCE.log())
    straight = feed(module, tmp_path / "a", epochs=2, samples_per_prompt=50)
    straight.next(0)
    values, tensors = straight.state()
    expected: Work = straight.next(1)
    resumed = feed(module, tmp_path / "a", epochs=2, samples_per_prompt=50)
    resumed.load(json.loads(json.dumps(values)), {name: tensor.clone() for name, tensor in tensors.items()})
    found = resumed.next(1)
    for a, b in zip(found.batches, expected.batches, strict=True):
        assert a.rows == b.rows
        assert all(torch.equal(a.tensors()[name], tensor) for name, tensor in b.tensors().items())


def test_every_answer_is_kept_to_read_and_once_after_a_resume(tmp_path: Path) -> None:
    module = Bandit(REFERENCE.log())
    made = feed(module, tmp_path, samples_per_prompt=10)
    made.next(0)
    state = made.state()
    made.next(1)  # lost by the kill
    made.load(*state)
    made.next(1)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0] * 10 + [1] * 10
    assert {"id", "prompt", "text", "stop", "score", "kl"} <= lines[0].keys()
