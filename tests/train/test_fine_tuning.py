"""What fine-tuning's loss is a mean of, against numbers worked out here."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Output, Trainable
from burnish.train.objectives import Sft, SftMean, added, total

DOCUMENTS = [
    Document(row="short", ids=[9, 0, 0], weights=[0, 1, 1]),
    Document(row="unlearned", ids=[9, 0, 0, 1], weights=[0, 0, 0, 0]),
    Document(row="long", ids=[9, 1, 9, 1, 1, 1], weights=[0, 1, 0, 1, 1, 1]),
    Document(row="two answers", ids=[9, 0], branches=[[2], [3]]),
]


class Costly(Trainable):
    """Says tokens 0, 1, 2 and 3 with chances 1/2, 1/4, 1/8 and 1/8: they cost 1, 2, 3 and 3 times ln 2."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.logits_V = nn.Parameter(torch.tensor([0.5, 0.25, 0.125, 0.125]).log())

    def forward(self, batch: Batch) -> Output:
        return Output(logprobs_N=self.logits_V.log_softmax(-1)[batch.target_N])


def bits(objective: Sft, *parts: list[Document]) -> float:
    """The loss of a step of these micro-batches, in units of ln 2."""
    batches = [pack(part) for part in parts]
    counts = added(objective.counts(batch) for batch in batches)
    with torch.no_grad():
        return sum(float(total(objective, objective.loss(Costly(), batch), counts)) for batch in batches) / math.log(2)


@pytest.mark.parametrize(
    ("mean", "expected"),
    [
        ("token", (2 + 8 + 3 + 3) / 8),
        ("sequence", (1 + 2 + 3 + 3) / 4),
        ("sum", (2 + 8 + 3 + 3) / 4),
    ],
)
def test_means_by_hand_however_the_step_is_cut(mean: SftMean, expected: float) -> None:
    """Two tokens at 1, four at 2, and two answers of one token at 3; what learns nothing is no sequence."""
    assert bits(Sft(mean), DOCUMENTS) == pytest.approx(expected, rel=1e-6)
    assert bits(Sft(mean), *([each] for each in DOCUMENTS)) == pytest.approx(expected, rel=1e-6)
    assert bits(Sft(mean), DOCUMENTS[:3], DOCUMENTS[3:]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("mean", "expected"), [("token", 9 / 6), ("sequence", 13 / 8), ("sum", 9 / 2)])
def test_weights_within_a_sequence(mean: SftMean, expected: float) -> None:
    """Weights 3 and 1 on costs 1 and 2: a sum of 5, a mean of 5/4. Four times a half on 2: a sum of 4, a mean of 2."""
    weighted = Document(row="a", ids=[9, 0, 1], weights=[0, 3, 1])
    halves = Document(row="b", ids=[9, 1, 1, 1, 1], weights=[0, 0.5, 0.5, 0.5, 0.5])
    assert bits(Sft(mean), [weighted, halves]) == pytest.approx(expected, rel=1e-6)
