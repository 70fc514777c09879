"""We pack, and pad nothing. Rows padded on either side, as transformers takes them, make the same step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from burnish.batches import Batch, Document
from burnish.models.attention import Attend
from burnish.models.forward import Trainable
from burnish.models.probe import use_own_attention
from burnish.proof.laws import STEP
from burnish.proof.methods import FULL, METHODS, WAYS
from burnish.proof.step import Step
from burnish.proof.subject import Subject, Trial, with_heads

PAD = 7
"""A token like any other: only mask and positions say that it is none."""
Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = ("left", "right")


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


@pytest.mark.parametrize("side", SIDES)
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


class Padded(Trainable):
    """The same heads, over hidden states of every answer as a padded row of its own, prompt and all."""

    side: Side
    masked = True

    def hidden(self, batch: Batch, attend: Attend | None = None) -> Tensor:
        paths = list(batch.paths())
        ids_RL = padded([batch.ids_T[path].tolist() for path in paths], PAD, self.side)
        mask_RL = padded([[1] * len(path) for path in paths], 0, self.side)
        backbone: Any = self.backbone
        states_RLC = backbone(
            input_ids=ids_RL,
            attention_mask=mask_RL if self.masked else torch.ones_like(mask_RL),
            position_ids=(mask_RL.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        tokens = torch.cat(paths).tolist()
        first = {token: place for place, token in reversed(list(enumerate(tokens)))}
        return states_RLC[mask_RL > 0][[first[token] for token in range(batch.tokens)]]


def in_rows(subject: Subject, trial: Trial, way: str, side: Side) -> Trial:
    """The trial with a module that pads, on weights of its own that are the same."""
    own = with_heads(subject.load(way), trial.method.heads)
    module = Padded(own.backbone, lm=own.lm, value=own.value, score=own.score).eval()
    use_own_attention(module)
    module.side = side
    return replace(trial, module=module)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_padding_makes_the_step_of_every_method(subject: Subject, method: str, way: str) -> None:
    trial = subject.trial(method, way)
    batch = trial.batch(trial.documents)
    step = trial.step(batch)
    apart = {side: in_rows(subject, trial, way, side).step(batch).apart(step) for side in SIDES}
    assert {side: found for side, found in apart.items() if any(found[name] > STEP[name] for name in STEP)} == {}


def test_padding_that_is_seen_would_not_make_the_step(subject: Subject) -> None:
    """So that the law of every method can fail."""
    trial = subject.trial("ppo", FULL)
    batch, unmasked = trial.batch(trial.documents), in_rows(subject, trial, FULL, "left")
    unmasked.module.masked = False
    assert unmasked.step(batch).apart(trial.step(batch))["gradient"] > 1e-2
