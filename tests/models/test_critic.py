"""A critic of its own: it begins as the reward model, learns by itself, and is not saved with the policy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.batches import Document, pack
from burnish.models.blueprint import blueprint, built
from burnish.models.critic import WithCritic, critic_of
from burnish.models.load import load_trainable
from burnish.models.tiny import write_tiny
from burnish.rewards.model import ModelReward

BATCH = pack([Document(row="q", ids=[1, 2], branches=[[3, 4], [5]])])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("critic") / "tiny")


def made(tiny: Path) -> tuple[WithCritic, ModelReward]:
    torch.manual_seed(0)
    reward = ModelReward(load_trainable(tiny, dtype=torch.float32, lm=False, score=True), mean=0.3, std=2.0)
    policy = load_trainable(tiny, dtype=torch.float32)
    return WithCritic(policy, critic_of(reward.module, reward.mean, reward.std)).eval(), reward


def test_its_first_values_are_the_reward_models_scores(tiny: Path) -> None:
    """The value of a target is read where the token before it stands: the last token of an answer is nobody's source,
    so that one answer is given another token for it."""
    module, reward = made(tiny)
    longer = pack([Document(row="q", ids=[1, 2], branches=[[3, 4, 7], [5, 7]])])
    with torch.no_grad():
        values_N = module(longer).values_N
    assert values_N is not None
    assert values_N[[2, 4]].tolist() == pytest.approx(reward.scores(BATCH).tolist(), abs=1e-5)


def test_policy_and_critic_learn_apart(tiny: Path) -> None:
    module, _ = made(tiny)
    output = module(BATCH)
    output.values_N.sum().backward()
    touched = {name for name, weight in module.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert touched
    assert all(name.startswith("critic.") for name in touched)
    assert torch.equal(output.logprobs_N, load_trainable(tiny, dtype=torch.float32)(BATCH).logprobs_N)


def test_another_process_builds_the_same_shape(tiny: Path) -> None:
    module, _ = made(tiny)
    other = built(blueprint(module))
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(other(BATCH).values_N, module(BATCH).values_N)
