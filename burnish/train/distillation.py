"""On-policy distillation (Agarwal et al. 2024, GKD): the policy answers, and at every token of its answer learns what a
teacher would have said there, of all tokens. Knows a frozen teacher in the feed and its logits in the batch; knows no
reward.

Only states that the policy reaches by itself are learned, and no credit flows from a token to those before it: how
often states are visited is held fixed. Suffixes: N targets, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from burnish.batches import Batch
from burnish.losses.divergence import generalised_jsd
from burnish.models.forward import CHUNK, Output, Trainable
from burnish.train.feeds import Feed, Work
from burnish.train.objectives import Loss

TAUGHT = "teacher_logits_NV"
DIVERGENCE = "loss/divergence_avg"
"""Metric: nats a learned token."""


class Everything:
    """What stands in the place of advantages: every answer is learned from, as it is."""

    kl = None
    critic = False
    compares = False

    def of(self, batches: Sequence[Batch]) -> list[Batch]:
        return list(batches)

    def vanish(self, scores: Sequence[float]) -> bool:
        return False


class TaughtFeed:
    """A feed whose batches carry what the teacher says of every target, as the extra teacher_logits_NV.

    The teacher is asked when the step comes. What it says is as large as the step's tokens times the vocabulary: it is
    in no checkpoint, and more minibatches make it smaller.
    """

    def __init__(self, feed: Feed, teacher: Callable[[Batch], Output]) -> None:
        self._feed = feed
        self._teacher = teacher

    def next(self, step: int) -> Work:
        work = self._feed.next(step)
        return replace(work, batches=[self._taught(batch) for batch in work.batches])

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self._feed.state()

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._feed.load(values, tensors)

    @torch.no_grad()
    def _taught(self, batch: Batch) -> Batch:
        logits = self._teacher(batch).logits
        assert logits is not None, "a teacher has an LM head"
        return batch.with_extra(**{TAUGHT: logits(slice(None)).cpu()})


class Distillation:
    """Mean over the learned tokens of how far the policy's distribution is from the teacher's (`generalised_jsd`).

    Tables of the two may differ in width, where one model's is padded: what both have is compared. Reads the extra
    teacher_logits_NV.
    """

    weights: Mapping[str, float] = {"divergence": 1.0}
    dropout = False

    def __init__(self, *, beta: float) -> None:
        self._beta = beta

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"divergence": float(batch.weight_N.sum())}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        logits = module(batch).logits
        assert logits is not None, "distillation needs an LM head"

        def part(rows: slice) -> Tensor:
            own_NV = logits(rows)  # where the weights are: a vocabulary a token is too much to bring here
            teacher_NV = batch.extra[TAUGHT][rows].to(own_NV.device)
            width = min(own_NV.shape[-1], teacher_NV.shape[-1])
            found_N = generalised_jsd(own_NV[:, :width], teacher_NV[:, :width], self._beta)
            return (batch.weight_N[rows] * found_N.cpu()).sum()

        # Computed again in the backward pass: of a whole batch, these rows would be several GB.
        starts = range(0, batch.target_N.numel(), CHUNK)
        parts = [checkpoint(part, slice(start, start + CHUNK), use_reentrant=False) for start in starts]
        total = torch.stack(parts).sum()
        return Loss({"divergence": total}, {DIVERGENCE: (float(total.detach()), self.counts(batch)["divergence"])})
