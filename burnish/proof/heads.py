"""Measures of what the heads make of hidden states: in chunks, and zeroed, where the loss is known. Judges nothing."""

from __future__ import annotations

import math

import torch
from torch import nn

from burnish.models.forward import Trainable
from burnish.proof.law import Measured
from burnish.proof.step import one_step
from burnish.proof.subject import Subject, Trial


def chunks(trial: Trial) -> Measured:
    """The step with all logits at once, and with 8 and 13 rows of them at a time.

    With 1 to 3 rows the fp32 product that makes the hidden states' gradient sums a vocabulary of 49,152 less exactly:
    1.7e-4 apart on SmolLM2-135M, where 8 rows are 2e-5 apart.
    """
    batch = trial.batch(trial.documents)
    trial.module.chunk = batch.target_N.numel()
    whole = trial.step(batch)
    parts: list[dict[str, float]] = []
    for rows in (8, 13):
        trial.module.chunk = rows
        parts.append(trial.step(batch).apart(whole))
    return Measured.worst(parts)


def zeroed_lm(subject: Subject) -> Measured:
    """Loss of a model that finds all V tokens equally likely, and ln V."""
    trial = subject.trial("sft")
    assert trial.module.lm is not None
    tokens = trial.module.lm.out_features
    blind = Trainable(trial.module.backbone, lm=_zeroed(trial.module.lm), layout=trial.module.layout)
    loss = one_step(blind, trial.method.objective, [trial.batch(trial.documents)]).loss
    return Measured.one(abs(loss - math.log(tokens)))


def zeroed_score(subject: Subject) -> Measured:
    """Loss of a reward model that finds all answers equally good, and ln 2."""
    trial = subject.trial("reward")
    assert trial.module.score is not None
    blind = Trainable(trial.module.backbone, score=_zeroed(trial.module.score), layout=subject.layout)
    loss = one_step(blind, trial.method.objective, [trial.batch(trial.documents)]).loss
    return Measured.one(abs(loss - math.log(2)))


def _zeroed(head: nn.Linear) -> nn.Linear:
    """A linear map to zero in place of this one."""
    blind = nn.Linear(head.in_features, head.out_features, bias=False, device=head.weight.device, dtype=torch.float32)
    nn.init.zeros_(blind.weight)
    return blind
