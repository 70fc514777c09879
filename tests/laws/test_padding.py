"""We pack, and pad nothing. Rows padded on either side, as transformers takes them, make the same step."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from burnish.batches import Document
from burnish.proof.laws import STEP
from burnish.proof.step import Step
from burnish.proof.subject import Subject

PAD = 7
"""A token like any other: only mask and positions say that it is none."""
Side = Literal["left", "right"]


def padded(rows: list[list[float]], filler: float, side: Side) -> Tensor:
    """Rows of unequal length as one matrix."""
    longest = max(map(len, rows))
    fillers = [[filler] * (longest - len(row)) for row in rows]
    pairs = zip(rows, fillers, strict=True)
    return torch.tensor([fill + row if side == "left" else row + fill for row, fill in pairs])


def plain_logprobs(model: Any, documents: list[Document], side: Side) -> Tensor:
    """Of each token that is learned, row by row. Shape N."""
    ids_RL = padded([list(each.ids) for each in documents], PAD, side)
    mask_RL = padded([[1] * len(each.ids) for each in documents], 0, side)
    weights_RL = padded([list(each.weights or []) for each in documents], 0.0, side)
    positions_RL = (mask_RL.cumsum(-1) - 1).clamp(min=0)
    logits_RLV = model(input_ids=ids_RL, attention_mask=mask_RL, position_ids=positions_RL).logits
    logprobs_RL = logits_RLV[:, :-1].log_softmax(-1).gather(-1, ids_RL[:, 1:, None]).squeeze(-1)
    return logprobs_RL[weights_RL[:, 1:] > 0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_makes_our_step(subject: Subject, side: Side) -> None:
    trial = subject.trial("sft")
    documents = list(trial.documents)
    assert len({len(each.ids) for each in documents}) > 1
    batch = trial.batch(documents)
    with torch.no_grad():
        ours_N = trial.module(batch).logprobs_N
    assert ours_N is not None
    model: Any = AutoModelForCausalLM.from_pretrained(subject.folder, dtype=torch.float32, attn_implementation="sdpa")
    theirs_N = plain_logprobs(model.eval(), documents, side)
    torch.testing.assert_close(theirs_N.detach(), ours_N[batch.weight_N > 0], rtol=0, atol=1e-5)
    loss = -theirs_N.mean()
    loss.backward()
    gradients = [weight.grad.flatten() for weight in model.parameters()]
    apart = Step(float(loss.detach()), torch.cat(gradients)).apart(trial.step(batch))
    assert apart["loss"] <= STEP["loss"]
    assert apart["gradient"] <= STEP["gradient"]


def test_padding_that_is_seen_would_not(subject: Subject) -> None:
    """So that the law can fail: without the mask the shorter rows read their padding."""
    documents = list(subject.trial("sft").documents)
    model: Any = AutoModelForCausalLM.from_pretrained(subject.folder, dtype=torch.float32).eval()

    def unmasked(attention_mask: Tensor, **given: Tensor) -> Any:
        return model(**given)

    with torch.no_grad():
        seen_N, unseen_N = (plain_logprobs(each, documents, "left") for each in (unmasked, model))
    assert float((seen_N - unseen_N).abs().max()) > 1e-2
