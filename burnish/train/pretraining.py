"""A corpus that is learned beside whatever else is learned, as a term of its own: PPO-ptx (Ouyang et al. 2022, eq. 2).
Knows how to tell its micro-batches from the others; knows no method.

The objective becomes that of the method less γ E[log π(text)], text being other documents at every step.

γ is the trade. Both terms are means of a token, so that at 1 a token of text counts as one of the answers: too much, as
every token of a text has a gradient, and answers as good as their neighbours have hardly one. The gradient of few texts
is mostly chance, grows with γ, and is clipped together with that of the answers, whose share of a step it takes away:
with two texts a step and InstructGPT's 27.8, which was for batches of hundreds, a fortieth was left
(docs/experiments.md). `grad_norm/own`, of the answers alone, beside `grad_norm`, of both, shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.models.forward import Trainable
from burnish.train.feeds import DatasetFeed, Feed, Work
from burnish.train.objectives import Loss, Objective, Sft

MARK = "pretraining_D"
"""The extra that tells a micro-batch of the corpus from others."""
TERM = "ptx"


class PretrainingMix:
    """A feed whose every step has documents of a corpus beside its own."""

    def __init__(self, feed: Feed, corpus: DatasetFeed, *, marked: bool = True) -> None:
        """`marked`: tell them from the feed's own, for `WithPretraining`; else they are learned as its own are."""
        self._feed = feed
        self._corpus = corpus
        self._marked = marked

    def next(self, step: int) -> Work:
        work = self._feed.next(step)
        text = self._corpus.next(step).batches
        if not self._marked:
            return replace(work, batches=[*work.batches, *text])
        text = [batch.with_extra(**{MARK: torch.ones(len(batch.rows))}) for batch in text]
        return replace(work, batches=[*work.batches, *text], appended=len(text))

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self._feed.state()  # the corpus' place is a function of the step

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._feed.load(values, tensors)


class WithPretraining:
    """An objective with the corpus' mean negative log-likelihood, a token, as a further term."""

    def __init__(self, objective: Objective, coef: float) -> None:
        """Args: coef, γ."""
        self.weights: Mapping[str, float] = {**objective.weights, TERM: coef}
        self.dropout = objective.dropout
        self._objective = objective
        self._text = Sft()

    def counts(self, batch: Batch) -> dict[str, float]:
        if MARK not in batch.extra:
            return self._objective.counts(batch)
        return {TERM: self._text.counts(batch)["nll"]}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        if MARK not in batch.extra:
            return self._objective.loss(module, batch)
        total = self._text.loss(module, batch).sums["nll"]
        return Loss({TERM: total}, {"loss/ptx_avg": (float(total.detach()), self._text.counts(batch)["nll"])})
