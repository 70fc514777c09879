"""Measures of what zeroed heads make of hidden states: the loss is known. Judges nothing."""

from __future__ import annotations

import math

import torch
from torch import nn

from burnish.models.forward import Trainable
from burnish.proof.law import Measured
from burnish.proof.step import one_step
from burnish.proof.subject import Subject


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
