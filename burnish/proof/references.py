"""Measures of a frozen reference: the same as the policy at first, and kept on the disk. Judges nothing."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch

from burnish.proof.law import Measured
from burnish.proof.step import one_step
from burnish.proof.subject import Subject
from burnish.train.direct import DirectPreference
from burnish.train.feeds import DatasetFeed
from burnish.train.objectives import predicted
from burnish.train.references import ReferencedFeed, reference_logprobs


def untrained(subject: Subject) -> Measured:
    """DPO's loss where the reference is the policy itself, and ln 2."""
    trial = subject.trial("dpo")
    batch = trial.batch(trial.documents)
    with torch.no_grad():
        batch = batch.with_extra(ref_logprobs_N=predicted(trial.module(batch)))
    loss = one_step(trial.module, DirectPreference("dpo", beta=0.1), [batch]).loss
    return Measured.one(abs(loss - math.log(2)))


def kept(subject: Subject) -> Measured:
    """Largest difference between log-probabilities that were read from the disk and those of the model, in nats."""
    trial = subject.trial("dpo")
    longest = max(document.tokens for document in trial.documents)
    feed = DatasetFeed(trial.documents, per_step=2, micro_tokens=longest, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        reference_logprobs(trial.module, feed, Path(folder), save_every=1)
        read = reference_logprobs(trial.module, feed, Path(folder), save_every=1)
    apart = 0.0
    referenced = ReferencedFeed(feed, read)
    for step in range(feed.steps_per_pass):
        for batch in referenced.next(step).batches:
            with torch.no_grad():
                live_N = predicted(trial.module(batch))
            apart = max(apart, float((live_N - batch.extra["ref_logprobs_N"]).abs().max()))
    return Measured.one(apart)
