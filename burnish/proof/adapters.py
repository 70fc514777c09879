"""Measures of adapters: switched off, and merged. Knows hidden states; judges nothing."""

from __future__ import annotations

import torch

from burnish.batches import Batch, pack
from burnish.models.lora import adapter_off, merge
from burnish.proof.law import Measured
from burnish.proof.methods import LORA
from burnish.proof.subject import Subject


@torch.no_grad()
def switched_off(subject: Subject) -> Measured:
    """Positions whose hidden states differ by a bit. All count where the adapter changes none while it is on."""
    batch, module = _all(subject), subject.module(LORA)
    base_TC, on_TC = subject.module().hidden(batch), module.hidden(batch)
    with adapter_off(module.backbone):
        off_TC = module.hidden(batch)
    if torch.equal(on_TC, base_TC):
        return Measured.one(batch.tokens, "the adapter changes nothing")
    return Measured.one(int((off_TC != base_TC).any(-1).sum()))


@torch.no_grad()
def merged(subject: Subject) -> Measured:
    """Hidden states of a merged model, and those of the model with its adapter: L2 distance over length."""
    batch, module = _all(subject), subject.load(LORA)
    adapted_TC = module.hidden(batch)
    merge(module)
    merged_TC = module.hidden(batch)
    return Measured.one(float((merged_TC - adapted_TC).norm() / adapted_TC.norm()))


def _all(subject: Subject) -> Batch:
    return pack([*subject.material.trees, *subject.material.conversations])
