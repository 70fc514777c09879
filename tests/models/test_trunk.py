"""Adapters on the weights of a model that is there already: they say what they say alone, and cost what they add."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from burnish.batches import Document, pack
from burnish.models.adapter import Trunk, load_adapted, save_adapter
from burnish.models.blueprint import blueprint, built
from burnish.models.critic import WithCritic, critic_of
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, merge, without_adapter
from burnish.models.tiny import write_tiny
from burnish.records import durable

from .families import FAMILIES, write

BATCH = pack(
    [
        Document(row="a", ids=[5, 6, 7], branches=[[1, 2], [3, 4, 258]]),
        Document(row="b", ids=[9, 8, 7, 6, 5], weights=[0.0, 1.0, 1.0, 0.0, 1.0]),
    ]
)


def sealed(base: Path, folder: Path, *, layers: int | None = None, dtype: torch.dtype = torch.float32) -> Trainable:
    """A reward model with an adapter that is no longer zero, as it lies in `folder`."""
    torch.manual_seed(3)
    module = load_trainable(base, dtype=dtype, lm=False, score=True, layers=layers)
    adapt(module, LoraConfig(rank=3, alpha=6), seed=1)
    for layer in adapted(module.backbone).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    with durable.folder(folder) as filling:
        save_adapter(module, filling, base, base_name="tiny")
    return module


def policy_of(base: Path, dtype: torch.dtype = torch.float32) -> tuple[Trainable, Trunk]:
    policy = load_trainable(base, dtype=dtype)
    trunk = Trunk(policy, base)
    adapt(policy, LoraConfig(rank=2, alpha=4), seed=2)
    return policy, trunk


def scores(module: Trainable | None) -> Tensor:
    assert module is not None
    with torch.no_grad():
        found = module(BATCH).scores_B
    assert found is not None
    return found


def places(module: nn.Module) -> dict[int, int]:
    """Bytes of each tensor by where it lies."""
    tensors = (*module.parameters(), *module.buffers())
    return {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}


@pytest.mark.parametrize("layers", [None, 1])
def test_it_says_what_the_merged_model_says_and_costs_what_it_adds(
    tiny: Path, tmp_path: Path, layers: int | None
) -> None:
    alone = sealed(tiny, tmp_path / "a", layers=layers)
    policy, trunk = policy_of(tiny)
    found = trunk.scoring(tmp_path / "a")
    assert found is not None
    assert torch.equal(scores(found), scores(alone))
    merge(alone)
    torch.testing.assert_close(scores(found), scores(alone), rtol=0, atol=1e-5)
    own = {place: size for place, size in places(found).items() if place not in places(policy)}
    factors = [each for layer in adapted(found.backbone).values() for each in (layer.lora_A, layer.lora_B)]
    assert own.keys() == {each.data_ptr() for each in (*factors, found.score.weight, found.score.bias)}
    assert sum(own.values()) < 0.3 * sum(places(alone).values())


def test_in_bfloat16_it_differs_from_the_merged_model_by_a_rounding(tiny: Path, tmp_path: Path) -> None:
    alone = sealed(tiny, tmp_path / "a", dtype=torch.bfloat16)
    found = policy_of(tiny, torch.bfloat16)[1].scoring(tmp_path / "a")
    assert torch.equal(scores(found), scores(alone))
    merge(alone)
    torch.testing.assert_close(scores(found), scores(alone), rtol=0, atol=0.05)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layers", [None, 1])
def test_of_every_family(name: str, layers: int | None, tmp_path: Path) -> None:
    """In packs or one sequence at a time, as the policy is fed, and with what a layer's kind asks for."""
    base = write(tmp_path / "base", name)
    sealed(base, tmp_path / "a", layers=layers)
    policy, trunk = policy_of(base)
    found = trunk.scoring(tmp_path / "a")
    assert found is not None
    assert found.layout is policy.layout is FAMILIES[name].layout
    again = load_adapted(tmp_path / "a", base, dtype=torch.float32, lm=False, score=True)
    torch.testing.assert_close(scores(found), scores(again), rtol=0, atol=1e-5)


def test_policy_and_reward_model_do_not_touch_each_other(tiny: Path, tmp_path: Path) -> None:
    sealed(tiny, tmp_path / "a")
    policy, trunk = policy_of(tiny)
    reference = without_adapter(policy)
    with torch.no_grad():
        said = policy(BATCH).logprobs_N
    found = trunk.scoring(tmp_path / "a")
    before = scores(found)
    assert torch.equal(policy(BATCH).logprobs_N.detach(), said)
    optimizer = torch.optim.SGD([weight for weight in policy.parameters() if weight.requires_grad], lr=1.0)
    for _ in range(2):
        policy(BATCH).logprobs_N.sum().backward()
        optimizer.step()
    assert not torch.equal(policy(BATCH).logprobs_N.detach(), said), "it has learned"
    assert torch.equal(scores(found), before)
    assert torch.equal(reference(BATCH).logprobs_N, said)
    merge(policy)
    assert torch.equal(scores(found), before)


def test_what_was_trained_on_other_weights_does_not_stand_on_these(tiny: Path, tmp_path: Path) -> None:
    sealed(write_tiny(tmp_path / "other", seed=1), tmp_path / "a")
    trunk = policy_of(tiny)[1]
    assert trunk.scoring(tmp_path / "a") is None
    assert trunk.scoring(tmp_path / "nothing") is None


def test_a_critic_goes_on_with_the_reward_models_adapter(tiny: Path, tmp_path: Path) -> None:
    """Policy and critic learn apart on one backbone, and another process has both, on a backbone each."""
    sealed(tiny, tmp_path / "a", layers=1)
    policy, trunk = policy_of(tiny)
    reward = trunk.scoring(tmp_path / "a")
    assert reward is not None
    wanted = (scores(reward) - 0.3) / 2.0
    module = WithCritic(policy, critic_of(reward.requires_grad_(False), 0.3, 2.0)).eval()
    ended = pack([Document(row="a", ids=[5, 6, 7], branches=[[1, 2, 0], [3, 4, 258, 0]])])
    with torch.no_grad():
        values_N = module(ended).values_N
    torch.testing.assert_close(values_N[[2, 6]], wanted[:2], rtol=0, atol=1e-5)
    learns = {name for name, weight in module.named_parameters() if weight.requires_grad}
    assert all(".lora_" in name or name.startswith("critic.value.") for name in learns)
    module(BATCH).values_N.sum().backward()
    touched = {name for name, weight in module.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {name.split(".")[0] for name in touched} == {"critic"}
    assert touched >= {name for name in learns if name.startswith("critic.") and "lora_B" in name}
    other = built(blueprint(module))
    other.load_state_dict(module.state_dict())
    assert [name for name, weight in other.named_parameters() if weight.requires_grad] == [
        name for name, weight in module.named_parameters() if weight.requires_grad
    ]
    with torch.no_grad():
        assert torch.equal(other(BATCH).values_N, module(BATCH).values_N)
