"""Laws that hold for every method: how a step is cut, ordered or packed changes neither loss nor gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Layout, Trainable
from burnish.train.direct import DirectPreference
from burnish.train.objectives import Objective, Ppo, RewardModel, Sft

Packer = Callable[[list[Document]], Batch]
METHODS: dict[str, Objective] = {
    "sft": Sft(),
    "reward": RewardModel(),
    "dpo": DirectPreference("dpo", beta=0.1, nll=0.2),
    "ipo": DirectPreference("ipo", beta=0.1),
    "dpo_norm": DirectPreference("dpo_norm", beta=5.0),
    "simpo": DirectPreference("simpo", beta=2.0, gamma=0.5),
    "orpo": DirectPreference("orpo", beta=0.1),
    "ppo": Ppo(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1),
}


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def documents(method: str, conversations: list[Document], trees: list[Document]) -> list[Document]:
    return conversations if method == "sft" else trees


@pytest.fixture
def packer(method: str, with_extras: Packer) -> Packer:
    return pack if method == "sft" else with_extras


def step(module: Trainable, objective: Objective, batches: Sequence[Batch]) -> tuple[float, torch.Tensor]:
    """Loss and gradient of one optimiser step, sums divided once."""
    module.zero_grad()
    counts: dict[str, float] = {}
    for batch in batches:
        for name, count in objective.counts(batch).items():
            counts[name] = counts.get(name, 0.0) + count
    value = 0.0
    for batch in batches:
        sums = objective.loss(module, batch).sums
        loss = torch.stack([objective.weights[name] * sums[name] / counts[name] for name in sums]).sum()
        loss.backward()
        value += loss.item()
    gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    return value, gradient.clone()


def same(a: tuple[float, torch.Tensor], b: tuple[float, torch.Tensor]) -> None:
    assert a[0] == pytest.approx(b[0], rel=1e-5)
    assert float((a[1] - b[1]).norm() / b[1].norm()) < 1e-4
    assert float(b[1].norm()) > 1e-3, "a law about a zero gradient says nothing"


def test_micro_batches_equal_the_big_batch(
    method: str, documents: list[Document], packer: Packer, module: Trainable
) -> None:
    whole = step(module, METHODS[method], [packer(documents)])
    for cut in (1, 2, 3):
        parts = [packer(documents[:cut]), packer(documents[cut:])]
        same(step(module, METHODS[method], parts), whole)
    same(step(module, METHODS[method], [packer([document]) for document in documents]), whole)


def test_order_does_not_matter(method: str, documents: list[Document], packer: Packer, module: Trainable) -> None:
    whole = step(module, METHODS[method], [packer(documents)])
    same(step(module, METHODS[method], [packer(documents[::-1])]), whole)


def test_the_same_batch_twice_has_the_same_mean(
    method: str, documents: list[Document], packer: Packer, module: Trainable
) -> None:
    once = step(module, METHODS[method], [packer(documents)])
    same(step(module, METHODS[method], [packer(documents), packer(documents)]), once)


def test_packing_and_prefix_sharing_equal_one_sequence_a_row(
    method: str, documents: list[Document], packer: Packer, module: Trainable
) -> None:
    """The fallback layout runs each path through the model alone, with no tree at all."""
    whole = step(module, METHODS[method], [packer(documents)])
    module.layout = Layout.ROWS
    from burnish.models.probe import use_own_attention

    use_own_attention(module)
    same(step(module, METHODS[method], [packer(documents)]), whole)


def test_a_changed_token_reaches_no_other_document(module: Trainable, conversations: list[Document]) -> None:
    before = pack(conversations)
    changed = Document(row="c2", ids=[9, 9, 9, 9, 9], weights=conversations[2].weights)
    after = pack([*conversations[:2], changed, *conversations[3:]])
    with torch.no_grad():
        a_TC, b_TC = module.hidden(before), module.hidden(after)
    for number, span in enumerate(before.document_slices()):
        assert torch.equal(a_TC[span], b_TC[span]) == (number != 2)


def test_a_changed_answer_reaches_no_other_answer(module: Trainable, trees: list[Document]) -> None:
    tree = trees[2]
    other = Document(row=tree.row, ids=tree.ids, branches=[tree.branches[0], [9] * len(tree.branches[1])])
    kept = Document(row=tree.row, ids=tree.ids, branches=tree.branches[:2])
    with torch.no_grad():
        before, after = module(pack([kept])), module(pack([other]))
    assert before.scores_B is not None
    assert after.scores_B is not None
    assert before.scores_B[0].item() == pytest.approx(after.scores_B[0].item(), abs=1e-6)
    assert before.scores_B[1].item() != pytest.approx(after.scores_B[1].item(), abs=1e-6)


def test_every_prompt_and_answer_is_forwarded_once(trees: list[Document]) -> None:
    assert pack(trees).tokens == sum(len(d.ids) + sum(map(len, d.branches)) for d in trees)


def test_ppo_at_the_sampling_weights_is_reinforce(
    module: Trainable, trees: list[Document], with_extras: Packer
) -> None:
    """With old log-probs from the same pack the ratio is exactly 1, nothing is clipped, and the slope is -A."""
    batch = with_extras(trees)
    with torch.no_grad():
        own = module(batch)
    assert own.logprobs_N is not None
    batch = batch.with_extra(old_logprobs_N=own.logprobs_N)
    result = METHODS["ppo"].loss(module, batch)
    ratio, count = result.metrics["val/ratio"]
    assert ratio == count
    assert result.metrics["policy/clipfrac_avg"][0] == 0
    assert result.sums["policy"].item() == pytest.approx(-float(batch.extra["advantages_N"].sum()), rel=1e-5)
