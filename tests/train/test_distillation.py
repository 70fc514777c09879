"""On-policy distillation: the policy becomes its teacher wherever it comes. Through the real loop and feed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tabular import Exact, Table, feed
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.losses.divergence import generalised_jsd
from burnish.models.forward import Output
from burnish.rewards.combination import Weighted
from burnish.train import distillation
from burnish.train.distillation import TAUGHT, Distillation, Everything, TaughtFeed
from burnish.train.feeds import DatasetFeed, Feed
from burnish.train.loop import FitConfig, fit
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.pretraining import PretrainingMix

START = torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4]])
TEACHER = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.5, 0.2, 0.3]])


def answered(table: Table, folder: Path, **changes: object) -> Feed:
    return feed(
        table,
        folder,
        Everything(),
        sampler=Exact(table, 2),
        reward=Weighted(()),
        reference=None,
        samples_per_prompt=60,
        **changes,
    )


def teacher(probabilities: Tensor = TEACHER) -> Table:
    return Table(probabilities).requires_grad_(False)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_policy_becomes_its_teacher(tmp_path: Path, beta: float) -> None:
    """In every state, since the policy comes to each: whichever divergence it is, it is 0 there alone."""
    table = Table(START)
    made = TaughtFeed(answered(table, tmp_path), teacher())
    optimizer = Optimizer(table, OptimConfig(lr=0.05, steps=150, schedule="linear"))
    fit(table, made, Distillation(beta=beta), optimizer, FitConfig(steps=150, seed=0))
    assert table.probabilities().flatten().tolist() == pytest.approx(TEACHER.flatten().tolist(), abs=0.01)


def test_conversations_are_taught_beside_the_answers(tmp_path: Path) -> None:
    """The policy says 0 alone, so that it never comes to the states after 1 and 2: a conversation leads it there."""
    lonely = torch.tensor([[1.0, 1e-9, 1e-9]]).expand(4, 3) / (1 + 2e-9)
    conversation = Document(row="told", ids=[3, 1, 2, 1], weights=[0.0, 1.0, 1.0, 1.0])
    corpus = DatasetFeed([conversation], per_step=1, micro_tokens=100, seed=0)
    table = Table(lonely)
    made = TaughtFeed(PretrainingMix(answered(table, tmp_path), corpus, marked=False), teacher())
    batches = made.next(0).batches
    assert [batch.rows for batch in batches] == [("q0",), ("told",)]
    told = batches[1]
    assert told.ids_T[told.source_N].tolist() == [3, 1, 2]
    assert told.extra[TAUGHT].exp().tolist() == [pytest.approx(TEACHER[state].tolist()) for state in (3, 1, 2)]
    assert Distillation(beta=0.0).counts(told) == {"divergence": 3.0}


def test_what_nobody_pays_scores_nothing(tmp_path: Path) -> None:
    work = answered(Table(START), tmp_path).next(0)
    assert work.metrics["objective/scores"] == 0.0
    assert work.metrics["val/groups_without_advantage"] == 0


def tree() -> Batch:
    return pack(
        [Document(row="a", ids=[3], branches=[[0, 1], [2, 2, 1]], branch_weights=[[1.0, 1.0], [0.5, 1.0, 1.0]])]
    )


def taught(batch: Batch, probabilities: Tensor = TEACHER) -> Batch:
    logits = teacher(probabilities)(batch).logits
    assert logits is not None
    return batch.with_extra(**{TAUGHT: logits(slice(None))})


@pytest.mark.parametrize("chunk", [1, 2, 512])
def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(distillation, "CHUNK", chunk)
    batch, table = taught(tree()), Table(START)
    before = batch.ids_T[batch.source_N]
    expected = (batch.weight_N * generalised_jsd(table.logits_SV[before], TEACHER.log()[before], 0.3)).sum()
    [wanted] = torch.autograd.grad(expected, table.logits_SV)
    result = Distillation(beta=0.3).loss(table, batch)
    found = result.sums["divergence"]
    assert result.metrics == {"loss/divergence_avg": (pytest.approx(float(expected.detach())), 4.5)}
    assert float(found.detach()) == pytest.approx(float(expected.detach()))
    found.backward()
    assert table.logits_SV.grad is not None
    assert torch.allclose(table.logits_SV.grad, wanted, atol=1e-7)


def test_a_padded_table_is_compared_as_far_as_both_go() -> None:
    """A teacher whose table has two rows more, which no token has."""
    padded = torch.cat([TEACHER, torch.full((4, 2), 1e-3)], dim=1)
    same = Distillation(beta=1.0).loss(Table(START), taught(tree())).sums["divergence"]
    wider = Distillation(beta=1.0).loss(Table(START), taught(tree(), padded)).sums["divergence"]
    assert float(wider.detach()) == pytest.approx(float(same.detach()), abs=1e-6)


def test_the_teacher_is_asked_each_step_and_stands_in_no_checkpoint(tmp_path: Path) -> None:
    asked: list[int] = []

    def counting(batch: Batch) -> Output:
        asked.append(batch.target_N.numel())
        return teacher()(batch)

    table = Table(START)
    straight = TaughtFeed(answered(table, tmp_path, epochs=2, minibatches=2, prompts=4), counting)
    straight.next(0)
    values, tensors = straight.state()
    assert tensors
    assert not [name for name in tensors if TAUGHT in name]
    resumed = TaughtFeed(answered(table, tmp_path, epochs=2, minibatches=2, prompts=4), counting)
    resumed.load(json.loads(json.dumps(values)), {name: tensor.clone() for name, tensor in tensors.items()})
    for step in (1, 2):
        for a, b in zip(straight.next(step).batches, resumed.next(step).batches, strict=True):
            assert all(torch.equal(a.tensors()[name], tensor) for name, tensor in b.tensors().items())
    assert asked == [240] * 5
